"""Nodes of scores that are repeated for other models, which sanity metrics compare with a method's own scores.

The other models are later ``members`` of the ensemble, as many as the method uses; the first member with
``shuffled_weights``; or a member that was trained with ``shuffled_labels``. All of this belongs to the benchmark: no method
is charged for it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from proponent.chunking import chunks
from proponent.config.configured_method import Method
from proponent.config.feature_shards import feature_shards
from proponent.config.specifications.method_specs import (
    FeaturizeSpec,
    RepeatSpec,
    ShuffleLabelsSpec,
    ShuffleSpec,
)
from proponent.config.specifications.need_loaders import LEARNED_FROM, uses_models
from proponent.config.specifications.step_inputs import (
    DataInputs,
    FeaturizeInputs,
    RepeatInputs,
    ShuffleInputs,
)
from proponent.config.specifications.step_spec import Engine
from proponent.config.specifications.training_specs import TrainSpec
from proponent.plan import artefact_paths as paths
from proponent.plan.setting_nodes import FEATURES, SettingNodes

PREFIX = "repeated/"
"""Beginning of the needs of metrics that these nodes provide."""


@dataclass(frozen=True)
class RepeatNodes:
    """Adds the repeated scores of one method to the graph of its setting.

    Args:
        base: nodes of the setting, already added.
        method: the method, whose scores are already added.
    """

    base: SettingNodes
    method: Method

    def can_repeat(self, what: str) -> bool:
        """Return whether the method has scores for other models.

        Args:
            what: difference between the models: ``members``, ``shuffled_weights`` or ``shuffled_labels``. The method has
                to look at models, and to start from nothing else; of shuffled models there is neither a training to
                replay nor a retraining to learn from.
        """
        config, needs = self.method.config, self.method.all_needs
        if self.method.external or config.scores or not uses_models(needs):
            return False
        if what == "members":
            return self.base.setting.ensemble.members >= 2 * config.members
        if "replay" in needs or set(needs) & set(LEARNED_FROM):
            return False
        return what == "shuffled_weights" or (
            what == "shuffled_labels" and self.base.setting.trained_by == "recipe"
        )

    def add(self, what: str) -> str:
        """Add repeated scores and what they are made from, and return their path."""
        graph, name, method = self.base.graph, self.base.name, self.method
        scores = paths.scores(name, method.name)
        original = graph.nodes[scores]
        changed: dict[str, Any] = {"candidates": ()}
        data = paths.data(name)
        if what == "members":
            features, ensemble = self._later_members()
            changed["first"] = method.config.members
        else:
            if what == "shuffled_labels":
                data = paths.changed_data(name, what)
            features, ensemble = self._changed_member(what, data)
            changed |= {"first": 0, "members": 1}
        spec = RepeatSpec(**{**_fields(original.spec), **changed})
        given = {"data": data, "features": features, "ensemble": ensemble}
        inputs = RepeatInputs(**{**_fields(original.named_inputs), **given}, original=scores)
        code = original.roots[1:]
        path = paths.repeated(name, what, method.name)
        return graph.add(path, spec, inputs, code, original.files, after=self.base.after_check)

    def _kinds(self) -> list[str]:
        return [need for need in self.method.all_needs if need in FEATURES]

    def _needs_checkpoints(self) -> bool:
        return "network" in self.method.all_needs or "replay" in self.method.all_needs

    def _later_members(self) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
        """Return the shards of features and of the ensemble that hold twice as many members as the method uses."""
        name, per_job = self.base.name, self.base.benchmark.config.compute.members_per_job
        members = 2 * self.method.config.members
        features = {
            kind: tuple(
                paths.features(name, kind, shard)
                for shard, _ in enumerate(feature_shards(kind, members, per_job))
            )
            for kind in self._kinds()
        }
        ensemble = tuple(paths.ensemble(name, shard) for shard, _ in enumerate(chunks(members, per_job)))
        return features, ensemble if self._needs_checkpoints() else ()

    def _changed_member(self, what: str, data: str) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
        """Add one changed member and its features, and return their paths.

        Args:
            what: ``shuffled_weights`` or ``shuffled_labels``.
            data: path of the training tensors of the member.
        """
        graph, name = self.base.graph, self.base.name
        ensemble = paths.changed_ensemble(name, what)
        if ensemble not in graph.nodes:
            self._add_member(what, ensemble, data)
        for kind in self._kinds():
            path = paths.changed_features(name, what, kind)
            if path not in graph.nodes:
                original = graph.nodes[paths.features(name, kind, 0)]
                of_shard = _fields(original.spec)
                # As much memory as the member had in its shard, so that gradients are stored in the same form.
                memory_mib = max(1, of_shard["memory_mib"] // len(of_shard["members"]))
                spec = FeaturizeSpec(**{**of_shard, "members": (0,), "memory_mib": memory_mib})
                inputs = FeaturizeInputs(data=data, ensemble=ensemble)
                graph.add(path, spec, inputs, original.roots[1:], original.files, self.base.after_check)
        features: dict[str, tuple[str, ...]] = {
            kind: (paths.changed_features(name, what, kind),) for kind in self._kinds()
        }
        return features, (ensemble,) if self._needs_checkpoints() else ()

    def _add_member(self, what: str, path: str, data: str) -> None:
        """Add the first member with shuffled weights, or a member that is trained on shuffled labels."""
        graph, name = self.base.graph, self.base.name
        common: dict[str, Any] = {
            "setting": name,
            "engine": Engine(threads=self.base.engine.threads),
            "seed": self.base.setting.seed,
        }
        if what == "shuffled_weights":
            spec = ShuffleSpec(**common, members=(0,))
            graph.add(path, spec, ShuffleInputs(data, paths.ensemble(name, 0)))
            return
        graph.add(data, ShuffleLabelsSpec(**common), DataInputs(paths.data(name)))
        original = graph.nodes[paths.ensemble(name, 0)]
        trained = TrainSpec(**{**_fields(original.spec), "members": (0,)})
        code, after = original.roots[1:], self.base.after_check
        graph.add(path, trained, DataInputs(data), code, original.files, after)


def _fields(instance: Any) -> dict[str, Any]:
    """Return the values of a dataclass by name."""
    return {entry.name: getattr(instance, entry.name) for entry in dataclasses.fields(instance)}

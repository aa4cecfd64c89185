"""Nodes of metrics that retrain: masks derived from scores or from the data, and the retrainings on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from proponent.chunking import chunks
from proponent.config.benchmark_schema import MetricConfig
from proponent.config.derived_designs import CONTROLS, DerivedDesignConfig, DerivedKind, GroupBy
from proponent.config.specifications.derived_specs import (
    DeriveMasksSpec,
    PatchModelsSpec,
    RetrainMasksSpec,
    SearchRemovalSpec,
    SeedRule,
)
from proponent.config.specifications.step_inputs import (
    DeriveMasksInputs,
    PatchModelsInputs,
    RetrainMasksInputs,
)
from proponent.config.specifications.step_spec import Engine
from proponent.plan import artefact_paths as paths
from proponent.plan.setting_nodes import SettingNodes


@dataclass(frozen=True)
class DerivedNodes:
    """Adds the retrainings of metrics to the graph of a setting.

    Args:
        base: nodes of the setting, already added.
    """

    base: SettingNodes

    def add(self, metric: str, config: MetricConfig, method: str) -> dict[str, tuple[str, ...]]:
        """Add the masks and retrainings that a metric needs for one method, those that are shared once.

        Args:
            metric: name of the metric's YAML file.
            config: its content.
            method: method whose scores are in the graph.

        Returns:
            Masks and shards, or models that took a step, by the names of
            :class:`~proponent.config.specifications.step_inputs.EvaluateInputs`; empty for a metric without a design.
        """
        design = config.design
        if design is None:
            return {}
        add = self._add_patches if design.kind is DerivedKind.patch else self._add_source
        found = {metric: add(metric, design, "")}
        if design.kind.uses_scores:
            found[f"{metric}/{method}"] = add(metric, design, method)
        return found

    def _add_patches(self, metric: str, design: DerivedDesignConfig, method: str) -> tuple[str, ...]:
        """Return the models of one source that took a step, after adding them if they are not there."""
        name, graph, setting = self.base.name, self.base.graph, self.base.setting
        path = paths.derived_patches(name, metric, method or paths.SHARED)
        if path in graph.nodes:
            return (path,)
        compute = self.base.benchmark.config.compute
        spec = PatchModelsSpec(
            setting=name,
            engine=self.base.engine,
            task=setting.task,
            target=setting.target,
            model=self.base.model,
            recipe=self.base.recipe,
            augment=None,
            seed=setting.seed,
            lockstep=compute.lockstep,
            metric=metric,
            method=method,
            design=design,
            inputs=setting.inputs,
            has_classes=setting.task.lacks_classes is None,
            queries=setting.queries,
            members_per_job=compute.members_per_job,
        )
        shards = range(-(-design.seeds // compute.members_per_job))
        inputs = PatchModelsInputs(
            data=paths.data(name),
            scores=paths.scores(name, method) if method else "",
            ensemble=tuple(paths.ensemble(name, shard) for shard in shards),
        )
        code = self.base.with_target(self.base.model_sources())
        graph.add(path, spec, inputs, *code, self.base.after_check)
        return (path,)

    def _add_source(self, metric: str, design: DerivedDesignConfig, method: str) -> tuple[str, ...]:
        """Return the masks of one source and the shards of their retrainings, after adding those that are not there."""
        name, graph = self.base.name, self.base.graph
        masks = paths.derived_masks(name, metric, method or paths.SHARED)
        shards = self._shards(metric, design, method)
        if masks in graph.nodes:
            return (masks, *shards)
        setting, data = self.base.setting, paths.data(name)
        by_source = design.kind is DerivedKind.groups and design.by is GroupBy.sources
        sources = setting.sources or "" if by_source else ""
        spec = DeriveMasksSpec(
            setting=name,
            engine=Engine(threads=self.base.benchmark.config.compute.threads),
            metric=metric,
            method=method,
            design=design,
            inputs=setting.inputs,
            has_classes=setting.task.lacks_classes is None,
            sources=sources,
            queries=setting.queries,
            seed=setting.seed,
        )
        scores = paths.scores(name, method) if method else ""
        files = graph.digests_of([sources] if sources else [])
        graph.add(masks, spec, DeriveMasksInputs(data=data, scores=scores), files=files)
        code = self.base.with_target(self.base.training_sources())
        inputs = RetrainMasksInputs(data=data, masks=masks)
        for path, training in shards.items():
            graph.add(path, training, inputs, *code, self.base.after_check)
        return (masks, *shards)

    def _shards(
        self, metric: str, design: DerivedDesignConfig, method: str
    ) -> dict[str, RetrainMasksSpec | SearchRemovalSpec]:
        """Return the specification of each shard of retrainings, by path."""
        compute, setting = self.base.benchmark.config.compute, self.base.setting
        name, source = self.base.name, method or paths.SHARED
        common: dict[str, Any] = {
            "setting": name,
            "engine": self.base.engine,
            "task": setting.task,
            "target": setting.target,
            "model": self.base.model,
            "recipe": self.base.recipe,
            "augment": setting.augment,
            "seed": setting.seed,
            "lockstep": compute.lockstep,
            "seeds": SeedRule(
                metric="" if design.is_paired else metric,
                seeds=design.seeds,
                paired=design.is_paired,
                by_weight=design.by_weight,
            ),
        }
        if design.kind is DerivedKind.support:
            orders = design.queries * (1 if method else CONTROLS[design.kind])
            together = max(1, compute.models_per_job // design.seeds)
            return {
                paths.derived_search(name, metric, source, shard): SearchRemovalSpec(
                    **common, share=design.shares[0], rounds=design.rounds, orders=(some.start, some.stop)
                )
                for shard, some in enumerate(chunks(orders, together))
            }
        runs = design.own_retrainings if method else design.shared_retrainings
        return {
            paths.derived_shard(name, metric, source, shard): RetrainMasksSpec(
                **common, runs=(some.start, some.stop)
            )
            for shard, some in enumerate(chunks(runs, compute.models_per_job))
        }

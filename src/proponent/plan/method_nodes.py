"""Nodes of a method on a setting: its scores and its metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from proponent.chunking import chunks
from proponent.config.configured_method import Method
from proponent.config.feature_shards import feature_shards
from proponent.config.metric_functions import metric_function
from proponent.config.specifications.method_specs import AdoptSpec, AttributeSpec, NetworkSpec, ReplaySpec
from proponent.config.specifications.method_uses import uses_of
from proponent.config.specifications.need_loaders import LEARNED_FROM, loaders_of
from proponent.config.specifications.step_inputs import AttributeInputs, EvaluateInputs
from proponent.config.specifications.table_specs import EvaluateSpec, MetricSpec
from proponent.plan import artefact_paths as paths
from proponent.plan.charges import TUNED_ON, shares, tuned_on
from proponent.plan.derived_nodes import DerivedNodes
from proponent.plan.eligibility import has_need, metric_needs, missing_metrics
from proponent.plan.repeat_nodes import PREFIX, RepeatNodes
from proponent.plan.setting_nodes import FEATURES, SettingNodes


@dataclass(frozen=True)
class MethodNodes:
    """Adds the nodes of one method to the graph of its setting.

    Args:
        base: nodes of the setting, already added.
        method: the method, which can run on the setting.
    """

    base: SettingNodes
    method: Method

    def add(self) -> None:
        """Add scores, then metrics."""
        self._add_metrics(self._add_scores())

    def _inputs(self) -> AttributeInputs:
        name, method = self.base.name, self.method
        compute = self.base.benchmark.config.compute
        members, per_job = method.config.members, compute.members_per_job
        designs = [LEARNED_FROM[need] for need in method.all_needs if need in LEARNED_FROM]
        if len(self._candidates()) > 1:
            designs.append(TUNED_ON)
        return AttributeInputs(
            data=paths.data(name),
            features={
                need: tuple(
                    paths.features(name, need, shard)
                    for shard, _ in enumerate(feature_shards(need, members, per_job))
                )
                for need in method.all_needs
                if need in FEATURES
            },
            ensemble=tuple(
                paths.ensemble(name, shard)
                for shard, _ in enumerate(chunks(members, per_job))
                if "network" in method.all_needs or "replay" in method.all_needs
            ),
            ground_truth={design: paths.ground_truth(name, design) for design in designs},
            scores={other: paths.scores(name, other) for other in method.config.scores},
        )

    def _candidates(self) -> list[dict[str, Any]]:
        """Return the hyper-parameters to compare; only the configured ones if the setting has nothing to tune on."""
        if self.method.config.tune is None or TUNED_ON not in self.base.setting.designs:
            return [dict(self.method.config.params)]
        return self.method.candidates(has_classes=self.base.setting.task.lacks_classes is None)

    def _add_scores(self) -> str:
        graph, name, method = self.base.graph, self.base.name, self.method
        path = paths.scores(name, method.name)
        common: dict[str, Any] = {
            "setting": name,
            "method": method.name,
            "family": method.config.family,
            "needs": method.needs,
            "members": method.config.members,
            "params": method.config.params,
            "queries": self.base.setting.queries,
        }
        if method.external:
            files = graph.digests_of(method.config.sources)
            return graph.add(path, AdoptSpec(**common), self._inputs(), files=files)
        setting, compute = self.base.setting, self.base.benchmark.config.compute
        network, replay = "network" in method.needs, "replay" in method.needs
        spec = AttributeSpec(
            **common,
            engine=self.base.engine,
            task=setting.task,
            target=setting.target if network or replay else None,
            module=method.module,
            function=method.function,
            arrays=method.arrays,
            uses=uses_of(graph.tree, method),
            finish_needs=method.finish_needs,
            groups=method.groups,
            self_influence=method.self_influence,
            candidates=tuple(self._candidates()),
            tune_members=(method.config.tune and method.config.tune.members) or method.config.members,
            members_per_job=compute.members_per_job,
            combine=method.config.combine,
            checkpoints=tuple(method.config.checkpoints),
            scores=tuple(method.config.scores),
            memory_mib=compute.memory_mib,
            network=(
                NetworkSpec(self.base.model, setting.precision, setting.weight_decay, setting.momentum)
                if network
                else None
            ),
            replay=ReplaySpec(self.base.model, self.base.recipe, setting.augment, setting.seed)
            if replay
            else None,
        )
        code = [*method.code, *loaders_of(method.all_needs, method.arrays)]
        files = graph.digests_of(method.config.sources)
        if network or replay:
            sources = self.base.training_sources() if replay else self.base.model_sources()
            model_code, read = self.base.with_target(sources)
            code += model_code
            files |= read
        return graph.add(path, spec, self._inputs(), code, files, after=self.base.after_check)

    def _add_metrics(self, scores: str) -> None:
        graph, name, method = self.base.graph, self.base.name, self.method
        asked = self._metrics()
        designs = [
            need.removeprefix("ground_truth/")
            for metric in asked.values()
            for need in metric.needs
            if need.startswith("ground_truth/")
        ]
        derived: dict[str, tuple[str, ...]] = {}
        for metric in asked:
            config = self.base.benchmark.metrics[metric]
            derived |= DerivedNodes(self.base).add(metric, config, method.name)
        spec = EvaluateSpec(
            setting=name,
            method=method.name,
            queries=self.base.setting.queries,
            metrics=asked,
            groups=method.module if method.groups else "",
            shares=shares(graph, scores),
            tuned_on=tuned_on(graph, name, scores),
        )
        inputs = EvaluateInputs(
            data=paths.data(name),
            scores=scores,
            ground_truth={design: paths.ground_truth(name, design) for design in designs},
            derived=derived,
            repeated=self._add_repeated(asked),
        )
        code = [":".join(metric_function(metric.metric)) for metric in asked.values()]
        if method.groups:
            code.append(f"{method.module}:group_scores")
        graph.add(paths.metrics(name, method.name), spec, inputs, code)

    def _add_repeated(self, asked: dict[str, MetricSpec]) -> dict[str, str]:
        """Add the scores for other models that metrics compare, and return their paths by what differs."""
        needs = {need for metric in asked.values() for need in metric.needs if need.startswith(PREFIX)}
        repeats = RepeatNodes(self.base, self.method)
        return {what: repeats.add(what) for what in sorted(need.removeprefix(PREFIX) for need in needs)}

    def _has_need(self, need: str) -> bool:
        if need.startswith(PREFIX):
            return RepeatNodes(self.base, self.method).can_repeat(need.removeprefix(PREFIX))
        return has_need(self.base.setting, need)

    def _metrics(self) -> dict[str, MetricSpec]:
        """Return the configured metrics that the setting and the method allow."""
        asked: dict[str, MetricSpec] = {}
        missing = missing_metrics(self.base.benchmark, self.base.name)
        for metric, config in self.base.benchmark.metrics.items():
            if metric in missing:
                continue
            needs, may_use = metric_needs(self.base.benchmark, metric)
            if not all(map(self._has_need, needs)):
                continue
            optional = filter(self._has_need, may_use)
            asked[metric] = MetricSpec(config.metric, config.params, (*needs, *optional), config.design)
        return asked

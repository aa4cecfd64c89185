"""The plan of a run: which artefacts there are, and what each is made from."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from proponent.config.benchmark import LEARNED_FROM, Benchmark, Method, uses_models
from proponent.config.keys import plain
from proponent.config.load import nearest
from proponent.config.schema import DesignConfig, Inputs, SettingConfig, n_rows
from proponent.config.signature import read_signature
from proponent.config.source_digest import file_digest
from proponent.errors import UserError
from proponent.plan.eligibility import has_need, why_left_out
from proponent.plan.graph import Graph, key_path
from proponent.store.files import read_json

FIGURES = ("lds", "frontier", "loss", "proponents")
"""Figures of a setting; see proponent.publish."""

_FEATURES = {"gradients": "gradients", "outputs": "outputs", "representations": "representations"}
_TUNED_ON = "tune"
"""The design on which candidates are compared: no mask of it evaluates or is learned from."""
_MODELS = "proponent.steps.io.stored_features"
_REPLAY = "proponent.steps.io.member_replay"
"""Imported only for methods that need them, so that a change of the engines or the trainer reaches no others that way."""
_LEADERBOARD = "results/leaderboard.csv"
_OVERVIEW = "results/figures/overview.svg"


@dataclass
class Plan:
    """Every artefact of the configured settings, methods and metrics."""

    benchmark: Benchmark
    in_job: bool = False
    """Only what a job's own Snakemake asks: the graph stays empty, and inputs are read from key files. A job of 100,000
    would otherwise plan all the others too."""
    graph: Graph = field(init=False)
    left_out: list[str] = field(default_factory=list)
    """Why a method does not appear on a setting, a line each."""
    scores: dict[str, list[str]] = field(default_factory=dict)
    """Methods that run, by setting."""

    def __post_init__(self) -> None:
        self.graph = Graph(self.benchmark.root, self.benchmark.tree)
        for name, setting in self.benchmark.settings.items():
            reasons = why_left_out(name, setting, self.benchmark.methods)
            self.left_out += [f"{name}/{method} {reason}" for method, reason in reasons.items()]
            self.scores[name] = [method for method in self.benchmark.methods if method not in reasons]
        if self.in_job:
            return
        for name, setting in self.benchmark.settings.items():
            self._add_setting(name, setting)
        self._add_collection()

    # What the rules ask.

    def key_file(self, path: str) -> str:
        """Return the key file of the artefact at ``path``."""
        return key_path(path if self.in_job else self._node(path).path)

    def inputs(self, path: str) -> list[str]:
        """Return the artefacts that the one at ``path`` is made from, sorted."""
        if self.in_job:
            return sorted(read_json(self.benchmark.root / key_path(path))["inputs"])
        return sorted(self._node(path).inputs)

    def spec(self, path: str) -> dict[str, Any]:
        """Return the resolved configuration behind the artefact at ``path``."""
        return self._node(path).spec

    def methods_of(self, family: str) -> str:
        """Return a wildcard constraint that fits the methods of one family, and nothing where there are none."""
        names = [name for name, method in self.benchmark.methods.items() if method.config.family == family]
        return "|".join(names) or "(?!)"

    def metrics_files(self) -> list[str]:
        """Return the metrics file of every method on every setting."""
        return [_metrics(setting, method) for setting, methods in self.scores.items() for method in methods]

    def targets(self) -> list[str]:
        """Return what rule ``all`` makes."""
        figures = [f"results/figures/{figure}-{setting}.svg" for setting in self.scores for figure in FIGURES]
        return [_LEADERBOARD, _OVERVIEW, *map(_summary, self.scores), *figures]

    def _node(self, path: str) -> Any:
        if path not in self.graph.nodes:
            reasons = [
                reason for reason in self.left_out if path == _scores(*reason.split(" ")[0].split("/", 1))
            ]
            unknown = f"no configured setting, design or method makes it{nearest(path, self.graph.nodes)}"
            raise UserError(f"{path}: {reasons[0] if reasons else unknown}")
        return self.graph.nodes[path]

    # The graph, stage by stage.

    def _add_setting(self, name: str, setting: SettingConfig) -> None:
        add = self.graph.add
        compute = self.benchmark.config.compute
        engine = {"threads": compute.threads, "device": compute.device}
        task = {"setting": name, "task": setting.task}
        data_spec: dict[str, Any] = {
            **task,
            "dataset": setting.dataset,
            "label_noise": setting.label_noise,
            "queries": setting.queries,
            "seed": setting.seed,
        }
        if setting.inputs is not Inputs.numbers:
            data_spec["inputs"] = setting.inputs
        if setting.recipe.stages:
            data_spec["stages"] = [stage.examples for stage in setting.recipe.stages]
        files = {file: file_digest(self.benchmark.root / file) for file in setting.dataset.files}
        add(
            _data(name),
            "data",
            {**data_spec, "threads": compute.threads},
            modules=_module(setting.dataset.factory),
            files=files,
        )

        training = {
            **task,
            "model": setting.model,
            "recipe": _recipe(setting),
            "seed": setting.seed,
            **engine,
            "lockstep": compute.lockstep,
        }
        model = _module(setting.model.factory)
        model_files = {file: file_digest(self.benchmark.root / file) for file in setting.model.files}
        for shard, members in enumerate(_ranges(setting.ensemble.members, compute.members_per_job)):
            spec = {**training, "members": list(members), "checkpoints": setting.ensemble.checkpoints}
            add(_ensemble(name, shard), "train", spec, [_data(name)], model, model_files)
            for kind in _FEATURES:
                spec = {
                    **task,
                    "kind": kind,
                    "members": list(members),
                    "model": setting.model,
                    **engine,
                    "memory_mib": compute.memory_mib,
                }
                spec["momentum"] = setting.recipe.momentum
                add(
                    _features(name, kind, shard),
                    "featurize",
                    spec,
                    [_data(name), _ensemble(name, shard)],
                    model,
                    model_files,
                )
        for design, config in setting.designs.items():
            self._add_design(name, design, config, training, model, model_files)
        methods = [self.benchmark.methods[method] for method in self.scores[name]]
        for method in sorted(methods, key=lambda method: bool(method.config.scores)):
            self._add_method(name, setting, method)

    def _add_design(
        self,
        name: str,
        design: str,
        config: DesignConfig,
        training: dict[str, Any],
        model: list[str],
        files: dict[str, str],
    ) -> None:
        compute = self.benchmark.config.compute
        content = {**plain(config), "name": design}
        rows = n_rows(config)
        # A larger count begins with the retrainings of a smaller one, so a shard does not depend on it.
        per_run = {key: value for key, value in content.items() if key != "count"}
        shards = []
        for shard, runs in enumerate(_ranges(rows * config.seeds, compute.models_per_job)):
            path = f"results/{name}/ground_truth/shards/{design}-{shard:04d}.safetensors"
            spec = {**training, "design": per_run, "runs": [runs.start, runs.stop]}
            shards.append(self.graph.add(path, "retrain", spec, [_data(name)], model, files))
        spec = {"setting": name, "design": content}
        self.graph.add(_truth(name, design), "ground_truth", spec, [_data(name), *shards])

    def _add_method(self, name: str, setting: SettingConfig, method: Method) -> None:
        compute = self.benchmark.config.compute
        shards = (
            range(math.ceil(method.config.members / compute.members_per_job))
            if uses_models(method.all_needs)
            else range(0)
        )
        inputs = [_data(name)]
        for need in method.all_needs:
            if need in _FEATURES:
                inputs += [_features(name, need, shard) for shard in shards]
            if need in ("network", "replay"):
                inputs += [_ensemble(name, shard) for shard in shards]
            if need in LEARNED_FROM:
                inputs.append(_truth(name, LEARNED_FROM[need]))
        inputs += [_scores(name, other) for other in method.config.scores]
        tuned = method.config.tune is not None and _TUNED_ON in setting.designs
        candidates = method.candidates(setting.task) if tuned else [dict(method.config.params)]
        if len(candidates) > 1:
            inputs.append(_truth(name, _TUNED_ON))
        spec = {
            "setting": name,
            "method": method.name,
            "task": setting.task,
            "queries": setting.queries,
            "needs": list(method.needs),
            "finish_needs": list(method.finish_needs),
            "groups": method.groups,
            "members": method.config.members,
            "members_per_job": compute.members_per_job,
            "combine": method.config.combine,
            "module": method.module,
            "function": method.function,
            "self_influence": method.self_influence,
            "params": method.config.params,
            "candidates": candidates,
            "tune_members": (method.config.tune and method.config.tune.members) or method.config.members,
            "family": method.config.family,
        }
        if method.config.checkpoints:
            spec["checkpoints"] = method.config.checkpoints
        if method.config.scores:
            spec["scores"] = method.config.scores
        if not method.external:
            spec |= {"threads": compute.threads, "device": compute.device, "memory_mib": compute.memory_mib}
            modules = [method.module, *([_MODELS] if uses_models(method.all_needs) else [])]
            if "network" in method.needs:
                spec |= {
                    "model": setting.model,
                    "weight_decay": setting.recipe.weight_decay,
                    "momentum": setting.recipe.momentum,
                }
                modules += _module(setting.model.factory)
            if "replay" in method.needs:
                spec |= {"model": setting.model, "recipe": _recipe(setting), "seed": setting.seed}
                modules += [_REPLAY, *_module(setting.model.factory)]
            path = self.graph.add(
                _scores(name, method.name), "attribute", spec, dict.fromkeys(inputs), modules
            )
        else:
            files = {file: file_digest(self.benchmark.root / file) for file in method.config.sources}
            path = self.graph.add(
                _scores(name, method.name), "external", spec, dict.fromkeys(inputs), [], files
            )
        self._add_metrics(name, setting, method, path)

    def _add_metrics(self, name: str, setting: SettingConfig, method: Method, scores: str) -> None:
        inputs, asked, modules = [_data(name), scores], {}, []
        for metric, config in self.benchmark.metrics.items():
            signature = read_signature(
                self.benchmark.tree,
                f"proponent.metrics.{config.metric}",
                "evaluate",
                f"configs/metrics/{metric}.yaml",
            )
            constants = signature.constants if signature else {}
            needs = constants.get("NEEDS", ())
            if not all(has_need(setting, need) for need in needs):
                continue
            needs += tuple(need for need in constants.get("MAY_USE", ()) if has_need(setting, need))
            asked[metric] = {"metric": config.metric, "params": config.params, "needs": list(needs)}
            modules.append(f"proponent.metrics.{config.metric}")
            inputs += [
                f"results/{name}/{need}.safetensors" for need in needs if need.startswith("ground_truth/")
            ]
        if method.groups:
            modules.append(method.module)
        spec = {
            "setting": name,
            "method": method.name,
            "queries": setting.queries,
            "metrics": asked,
            "groups": method.module if method.groups else "",
            "external_key_file": key_path(scores) if method.external else "",
            "shares": self._shares(scores),
            "tuned_on": self._tuned_on(name, scores),
        }
        self.graph.add(_metrics(name, method.name), "evaluate", spec, dict.fromkeys(inputs), modules)

    def _shares(self, scores: str) -> dict[str, float]:
        """Return how much of each artefact behind ``scores`` its method pays for: all, or its members' part of a shard.

        Retrainings that it learned from are charged, those that it was tuned and is evaluated on are not. Where it starts
        from other methods' scores, it pays for what these pay for, once.
        """
        shares: dict[str, float] = {}
        pending = [(scores, 0)]
        while pending:
            path, used = pending.pop()
            node = self.graph.nodes[path]
            if not _is_charged(path, node.spec):
                continue
            members = node.spec.get("members")
            if isinstance(members, int):  # a method's; an artefact of the ensemble lists those of its shard
                used = members
            share = (
                sum(member < used for member in members) / len(members) if isinstance(members, list) else 1.0
            )
            if share > shares.get(path, -1.0):
                shares[path] = share
                pending.extend((name, used) for name in node.inputs)
        return shares

    def _tuned_on(self, setting: str, scores: str) -> list[str]:
        """Return the shards of retrainings on which the candidates behind ``scores`` were compared."""
        truth = _truth(setting, _TUNED_ON)
        behind = (scores, *self.graph.nodes[scores].inputs)
        compared = any(truth in self.graph.nodes[path].inputs for path in behind)
        return [path for path in self.graph.nodes[truth].inputs if "/shards/" in path] if compared else []

    def _add_collection(self) -> None:
        for name, setting in self.benchmark.settings.items():
            metrics = [_metrics(name, method) for method in self.scores[name]]
            if not metrics:
                raise UserError(
                    f"params.yaml: no method can run on setting '{name}': {'; '.join(self.left_out)}"
                )
            spec: dict[str, Any] = {"setting": name, "methods": self.scores[name]}
            self.graph.add(_summary(name), "summary", spec, metrics)
            shards = [
                _ensemble(name, shard)
                for shard, _ in enumerate(
                    _ranges(setting.ensemble.members, self.benchmark.config.compute.members_per_job)
                )
            ]
            scores = [_scores(name, method) for method in self.scores[name]]
            spec |= {"figures": list(FIGURES)}
            self.graph.add(
                f"results/figures/{FIGURES[0]}-{name}.svg",
                "figures",
                spec,
                [_data(name), *shards, *metrics, *scores],
            )
        files = self.metrics_files()
        self.graph.add(
            _LEADERBOARD, "collect", {"settings": list(self.scores), "methods": self.scores}, files
        )
        self.graph.add(_OVERVIEW, "overview", {"settings": list(self.scores)}, [_LEADERBOARD])


def _ranges(total: int, size: int) -> Iterable[range]:
    return [range(first, min(first + size, total)) for first in range(0, total, size)]


def _is_charged(path: str, spec: dict[str, Any]) -> bool:
    return "/ground_truth/" not in path or spec["design"]["name"] in LEARNED_FROM.values()


def _recipe(setting: SettingConfig) -> dict[str, Any]:
    """Return the recipe of a specification; one without stages says nothing of them."""
    recipe: dict[str, Any] = plain(setting.recipe)
    return {key: value for key, value in recipe.items() if key != "stages" or value}


def _module(factory: str) -> list[str]:
    return [factory.partition(":")[0]]


def _data(setting: str) -> str:
    return f"results/{setting}/data/train.safetensors"


def _ensemble(setting: str, shard: int) -> str:
    return f"results/{setting}/ensemble/shard-{shard:03d}.json"


def _features(setting: str, kind: str, shard: int) -> str:
    return f"results/{setting}/features/{kind}-{shard:03d}.safetensors"


def _truth(setting: str, design: str) -> str:
    return f"results/{setting}/ground_truth/{design}.safetensors"


def _scores(setting: str, method: str) -> str:
    return f"results/{setting}/scores/{method}.safetensors"


def _summary(setting: str) -> str:
    return f"results/summaries/{setting}.json"


def _metrics(setting: str, method: str) -> str:
    return f"results/{setting}/metrics/{method}.json"

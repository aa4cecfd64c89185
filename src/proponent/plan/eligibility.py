"""Eligibility: the methods and metrics that can run on a setting, decided from the configuration alone."""

from __future__ import annotations

from collections.abc import Mapping

from proponent.config.benchmark import Benchmark
from proponent.config.configured_method import Method
from proponent.config.derived_designs import DerivedDesignConfig, DerivedKind, GroupBy
from proponent.config.metric_functions import metric_function
from proponent.config.recipe_schema import Precision
from proponent.config.setting_schema import SettingConfig
from proponent.config.signature import read_signature
from proponent.config.specifications.need_loaders import LEARNED_FROM, uses_models

_STORED_AS = {"duplicates": "duplicate_of"}
"""Names of planted truths in the file, where they are not those of the changes."""


def has_need(setting: SettingConfig, need: str) -> bool:
    """Return whether a setting provides a need of a metric (:mod:`proponent.metrics.metric_inputs`).

    Repeated scores depend on the method as well (:mod:`proponent.plan.repeat_nodes`).
    """
    kind, _, name = need.partition("/")
    if kind == "noisy_labels":
        return setting.label_noise is not None
    if kind == "labels":
        return setting.task.lacks_classes is None
    if kind == "planted":
        given = getattr(setting.planted, "given", ())  # truths of the dataset factory
        return getattr(setting.planted, name, None) is not None or _STORED_AS.get(name, name) in given
    return kind == "ground_truth" and name in setting.designs


def metric_needs(benchmark: Benchmark, metric: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what a configured metric needs, and what it uses if the setting has it."""
    function = metric_function(benchmark.metrics[metric].metric)
    signature = read_signature(benchmark.tree, *function, f"configs/metrics/{metric}.yaml")
    constants = signature.constants if signature else {}
    return tuple(constants.get("NEEDS", ())), tuple(constants.get("MAY_USE", ()))


def missing_metrics(benchmark: Benchmark, name: str) -> dict[str, str]:
    """Return, for each metric that needs retrainings which the setting ``name`` cannot make, the reason.

    A setting that can train has the retrainings that it asks for, and no metric that uses them is missed.
    """
    setting, file = benchmark.settings[name], f"configs/settings/{name}.yaml"
    reasons = {
        metric: why
        for metric, config in benchmark.metrics.items()
        if config.design is not None and (why := _cannot_retrain(setting, file, config.design))
    }
    if setting.trains:
        return reasons
    reason = f"needs retrainings, and {file} has trained models (ensemble.files) and no recipe"
    return reasons | {
        metric: reason
        for metric in benchmark.metrics
        if any(need.startswith("ground_truth/") for need in metric_needs(benchmark, metric)[0])
    }


def _cannot_retrain(setting: SettingConfig, file: str, design: DerivedDesignConfig) -> str | None:
    """Return why a setting cannot make the retrainings of a metric; None if it can."""
    if setting.trained_by == "files":
        return f"needs retrainings, and {file} has trained models (ensemble.files) and no recipe"
    if setting.trained_by == "command":
        return f"retrains by a recipe, and {file} has training.command"
    lacking = setting.task.lacks_classes
    if design.kind is DerivedKind.groups and design.by is GroupBy.classes and lacking:
        return f"leaves out classes, and {file} has the task {lacking}"
    if design.kind is DerivedKind.groups and design.by is GroupBy.sources:
        planted = setting.planted
        subclass = planted is not None and (planted.subclass is not None or "subclass" in planted.given)
        if setting.sources is None and not subclass:
            return f"leaves out sources, and {file} has no 'sources'"
    if design.kind is DerivedKind.patch and design.seeds > setting.ensemble.members:
        return f"needs {design.seeds} ensemble members, and {file} has {setting.ensemble.members}"
    if design.kind is DerivedKind.support and lacking:
        return f"changes predictions of classes, and {file} has the task {lacking}"
    return None


def why_left_out(name: str, setting: SettingConfig, methods: Mapping[str, Method]) -> dict[str, str]:
    """Return, for each method that cannot run on the setting ``name``, the reason: a sentence without its subject."""
    lacking = {method: _lacks(name, setting, methods[method]) for method in methods}
    for method in methods.values():
        for other in method.config.scores:
            if other not in methods:
                lacking[method.name] = f"needs the scores of '{other}': add it to the methods"
            elif lacking[other]:
                lacking[method.name] = f"needs the scores of '{other}', which cannot run there"
    return {method: reason for method, reason in lacking.items() if reason}


def _lacks(name: str, setting: SettingConfig, method: Method) -> str | None:
    """Return what a method needs and the setting does not provide; None if the method can run."""
    file = f"configs/settings/{name}.yaml"
    for left_out in (method.name, method.averaged):
        if left_out in setting.left_out:
            return setting.left_out[left_out]
    if uses_models(method.all_needs) and setting.model is None:
        return f"uses the model, and {file} has none"
    if uses_models(method.all_needs) and method.config.members > setting.ensemble.members:
        return f"needs {method.config.members} ensemble members, and {file} has {setting.ensemble.members}"
    for need in method.all_needs:
        if need in LEARNED_FROM and LEARNED_FROM[need] not in setting.designs:
            return f"needs {need}, and {file} has no design '{LEARNED_FROM[need]}'"
    if setting.ensemble.checkpoints_of(method.config.members) < method.checkpoints:
        return f"needs checkpoints along training, and {file} {'saves' if setting.trains else 'gives'} none"
    if setting.task.lacks_classes and method.config.params.get("labels") in method.labels:
        return f"needs the task classification for its labels, and {file} has {setting.task.lacks_classes}"
    if method.inputs is not None and setting.inputs.value != method.inputs:
        return f"needs 'inputs: {method.inputs}', and {file} has {setting.inputs.value}"
    if method.optimizers is not None and (
        setting.optimizer is None or setting.optimizer.value not in method.optimizers
    ):
        wanted = " or ".join(method.optimizers)
        found = f"has {setting.optimizer.value}" if setting.optimizer else "does not state training.optimizer"
        return f"needs the optimizer {wanted}, and {file} {found}"
    if "replay" in method.all_needs and setting.recipe is None:
        return f"replays the training step by step, and {file} has no recipe"
    if "replay" in method.all_needs and setting.precision is Precision.bf16:
        return f"replays the training, whose derivatives need float32 or float64, and {file} trains in bf16"
    if method.tasks is not None and not setting.task.is_among(method.tasks):
        found = setting.task.lacks_classes or setting.task.name
        return f"needs the task {' or '.join(method.tasks)}, and {file} has {found}"
    return None

"""The YAML files below ``configs/``, merged with the overrides of ``params.yaml``; settings and metrics made of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proponent.config.benchmark_schema import BenchmarkConfig, MetricConfig
from proponent.config.digests.source_digest import SourceTree
from proponent.config.extended_settings import extended
from proponent.config.implied import over_members, tune_alike, with_tuning
from proponent.config.load import merge, nearest, structured
from proponent.config.metric_functions import metric_function
from proponent.config.model_schema import TaskConfig
from proponent.config.names import check_names
from proponent.config.setting_schema import SettingConfig
from proponent.config.signature import Signature, read_signature
from proponent.config.task_names import TASKS, task_code, written_task
from proponent.config.training_command import file_outside, files_of, missing_script, result_in
from proponent.config.written_ensemble import written_ensemble
from proponent.config.yaml_reader import read_yaml
from proponent.errors import UserError


@dataclass
class ConfigFiles:
    """Reader of the files that ``params.yaml`` names.

    Attributes:
        root: the checkout.
        config: the content of ``params.yaml``.
        tree: the checkout's source, in which factories, metrics and methods are looked up.
    """

    root: Path
    config: BenchmarkConfig
    tree: SourceTree

    def content(self, kind: str, name: str, asked_in: str = "params.yaml") -> tuple[dict[str, Any], str]:
        """Return the content of one file and its source, the beginning of every error about it.

        Args:
            kind: a folder of ``configs/``.
            name: name of the file without its suffix; ``graddot-10`` stands for ``graddot`` averaged over ten members
                where there is no such file.
            asked_in: the file that names it.

        Raises:
            UserError: there is no such file, or it cannot be read.
        """
        folder = self.root / "configs" / kind
        over = (self.config.overrides.get(kind) or {}).get(name)
        source = f"configs/{kind}/{name}.yaml"
        alone = self.averaged(name) if kind == "methods" else None
        if (folder / f"{name}.yaml").is_file():
            content = read_yaml(folder / f"{name}.yaml")
            if kind == "settings":
                content, source = extended(self.root, content, source)
        elif alone is not None:
            source = f"configs/methods/{alone}.yaml as {name}"
            content = over_members(read_yaml(folder / f"{alone}.yaml"), int(name.rpartition("-")[2]), source)
        else:
            valid = [entry.stem for entry in folder.glob("*.yaml")]
            raise UserError(f"{asked_in}: no {kind[:-1]} '{name}' in configs/{kind}/{nearest(name, valid)}")
        if over:
            return merge(content, over), f"{source} with overrides of params.yaml"
        return content, source

    def averaged(self, name: str) -> str | None:
        """Return the method that ``name`` averages over members (``graddot`` for ``graddot-10``), or None.

        A file of that name has precedence.
        """
        folder = self.root / "configs/methods"
        alone, _, members = name.rpartition("-")
        is_average = members.isdecimal() and (folder / f"{alone}.yaml").is_file()
        return alone if is_average and not (folder / f"{name}.yaml").is_file() else None

    def setting(self, name: str) -> SettingConfig:
        """Return a setting with its designs, after checking its factories, files and task.

        Raises:
            UserError: anything unknown, ill-typed, missing or out of range.
        """
        content, source = self.content("settings", name)
        designs = content.get("designs", {})
        if isinstance(designs, Mapping):
            check_names("design", designs, f"{source}: designs")
            content["designs"] = {
                design: merge(self.content("designs", design)[0], entry or {})
                if isinstance(entry or {}, Mapping)
                else entry
                for design, entry in with_tuning(designs).items()
            }
            tune_alike(content["designs"])
        if "task" in content:
            content["task"] = written_task(content["task"], source)
        if isinstance(content.get("training"), Mapping) and "command" in content["training"]:
            # A recipe saves checkpoints by itself; a script saves those that its author wrote.
            content["ensemble"] = merge({"checkpoints": 0}, content.get("ensemble") or {})
        if isinstance(content.get("ensemble"), Mapping):
            content["ensemble"] = written_ensemble(content["ensemble"], source)
        setting = structured(SettingConfig, content, source)
        for key, factory in setting.factories.items():
            signature = self._factory(factory.factory, f"{source}: {key}.factory")
            if signature:
                factory.args = signature.check_arguments(factory.args, source, f"{key}.args.")
            for file in factory.files:
                if not (self.root / file).exists():
                    raise UserError(f"{source}: {key}.files names '{file}', which does not exist")
        self._check_task(setting.task, source)
        lacking = setting.task.lacks_classes if setting.task.name in TASKS else None
        if setting.label_noise is not None and lacking:
            raise UserError(
                f"{source}: label_noise needs one class per example, and the task is {lacking}; leave label_noise out"
            )
        self._check_command(setting, source)
        if setting.sources is not None and not (self.root / setting.sources).is_file():
            raise UserError(f"{source}: sources names '{setting.sources}', which does not exist")
        pretrained = setting.model.pretrained if setting.model else None
        if pretrained and not (self.root / pretrained.file).exists():
            raise UserError(
                f"{source}: model.pretrained.file names '{pretrained.file}', which does not exist; place the weights there"
            )
        return setting

    def check_sources(self, sources: Iterable[str], where: str) -> None:
        """Refuse files and folders that are missing, and folders that every run changes.

        Args:
            sources: paths relative to the checkout.
            where: file and key that list them, the beginning of the error.
        """
        for file in sources:
            if not (self.root / file).exists():
                raise UserError(f"{where} names '{file}', which does not exist")
            if (self.root / "results").resolve().is_relative_to((self.root / file).resolve()):
                raise UserError(
                    f"{where} names '{file}', which contains results/, and every run changes them; name the files"
                )

    def _check_command(self, setting: SettingConfig, source: str) -> None:
        """Refuse a training command whose files are unknown, since a change of them must train all models again."""
        if setting.training is None or not setting.command:
            return
        sources = setting.training.sources
        self.check_sources(sources, f"{source}: training.sources")
        if (script := missing_script(setting.command, self.root)) is not None:
            raise UserError(f"{source}: training.command names '{script}', which does not exist")
        if (result := result_in(setting.command)) is not None:
            raise UserError(
                f"{source}: training.command names '{result}', and results are made again by every change; write "
                "{data} for the folder of the data, or copy the file to another folder"
            )
        outside = file_outside(setting.command, self.root)
        if outside is not None and outside not in sources:
            raise UserError(
                f"{source}: training.command names '{outside}' outside the checkout; list it in training.sources as well, "
                "so that a change of it trains again"
            )
        if not sources and not files_of(setting.command, self.root):
            raise UserError(
                f"{source}: training.command names no file of the checkout; list the files that decide what it computes in "
                "training.sources"
            )

    def _check_task(self, task: TaskConfig, source: str) -> None:
        """Refuse an unknown task, and arguments that it does not have or that are out of range."""
        try:
            code = task_code(task)
        except UserError as error:
            raise UserError(f"{source}: {error}") from error
        signature = self._factory(code, f"{source}: task")
        if signature is None:
            return
        task.args = signature.keywords_only().check_arguments(task.args, source, "task.")
        signature.check_ranges(task.args, f"{source}: task.")

    def _factory(self, factory: str, source: str) -> Signature | None:
        module, colon, function = factory.partition(":")
        if not (module and colon and function):
            raise UserError(f"{source} must read 'package.module:function', not '{factory}'")
        return read_signature(self.tree, module, function, source)

    def metric(self, name: str) -> MetricConfig:
        """Return a metric, after checking its parameters.

        Raises:
            UserError: anything unknown, ill-typed, missing or out of range.
        """
        content, source = self.content("metrics", name)
        config = structured(MetricConfig, content, source)
        signature = read_signature(self.tree, *metric_function(config.metric), source)
        if signature:
            config.params = signature.keywords_only().check_arguments(config.params, source, "params.")
            signature.check_ranges(config.params, f"{source}: params.")
            _check_design(config, signature.constants.get("DESIGN"), source)
        return config


def _check_design(config: MetricConfig, wanted: str | None, source: str) -> None:
    """Refuse a metric that retrains without a design of its kind, and a design for a metric that does not retrain."""
    found = config.design.kind.value if config.design else None
    if found == wanted:
        return
    if wanted is None:
        raise UserError(f"{source}: the metric {config.metric} does not retrain; leave 'design' out")
    raise UserError(
        f"{source}: the metric {config.metric} retrains; give it a 'design' with 'kind: {wanted}', as in the "
        "files of configs/metrics/"
    )

"""Specifications of members and retrainings that a training script of the user's own makes, and the files behind them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from proponent.config.ensemble_schema import TargetsFrom
from proponent.config.setting_schema import SettingConfig
from proponent.config.specifications.step_spec import Engine, ModelSpec
from proponent.config.specifications.training_specs import Draw, RetrainScriptSpec, TrainScriptSpec
from proponent.config.training_command import files_of


def command_files(setting: SettingConfig, root: Path) -> list[str]:
    """Return the files whose content decides what the command computes: those that it names, and ``training.sources``."""
    listed = setting.training.sources if setting.training else []
    return list(dict.fromkeys([*files_of(setting.command, root), *listed]))


def members_spec(
    name: str, setting: SettingConfig, engine: Engine, model: ModelSpec, members: Iterable[int]
) -> TrainScriptSpec:
    """Return the specification of a shard of members."""
    return TrainScriptSpec(
        setting=name,
        engine=engine,
        task=setting.task,
        model=model,
        precision=setting.precision,
        command=setting.command,
        seed=setting.seed,
        members=tuple(members),
        checkpoints=setting.ensemble.checkpoints,
    )


def retrainings_spec(
    name: str, setting: SettingConfig, engine: Engine, model: ModelSpec | None, draw: Draw, runs: slice
) -> RetrainScriptSpec:
    """Return the specification of a shard of retrainings."""
    by_weights = setting.targets_from is TargetsFrom.weights
    return RetrainScriptSpec(
        setting=name,
        engine=engine,
        task=setting.task,
        target=setting.target if by_weights else None,
        model=model if by_weights else None,
        precision=setting.precision,
        command=setting.command,
        seed=setting.seed,
        design=draw,
        runs=(runs.start, runs.stop),
    )

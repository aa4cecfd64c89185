"""Arguments of an :class:`proponent.Attributor`: refusals in one line, and the history of a training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from os import PathLike
from typing import Any

import torch
from torch import nn

from proponent.config.model_schema import TaskConfig
from proponent.errors import UserError
from proponent.features.views import CheckpointTimes
from proponent.trained.given_models import State, state_of
from proponent.trained.method_choice import Choice

_MISSING = {
    "replay": "a recipe, to train the model again step by step; add a setting and run it with snakemake",
    "retrainings": "retrainings on subsets; add a setting and run it with snakemake",
    "permutations": "retrainings on nested subsets; add a setting and run it with snakemake",
    "scores": "the scores of other methods; add a setting and run it with snakemake",
}


def check_arguments(
    model: Any,
    models: Any,
    checkpoints: Any,
    dtype: torch.dtype | None,
    *,
    weight_decay: Any = 0.0,
    momentum: Any = 0.0,
    memory_mib: Any = 1,
    cache: Any = None,
) -> None:
    """Refuse arguments of other kinds than those that are documented."""
    check_model(model)
    for name, value in (("models", models), ("checkpoints", checkpoints)):
        if value is not None and (isinstance(value, str) or not isinstance(value, Sequence)):
            raise UserError(f"{name} must be a list, not a {type(value).__name__}; give {name}=[...]")
        if value is not None and not value:
            raise UserError(f"{name} is an empty list; give at least one of them, or leave the argument out")
    if dtype not in (None, torch.float32, torch.float64):
        raise UserError(f"dtype must be torch.float32 or torch.float64, not {dtype}")
    if not is_number(weight_decay):
        raise UserError(f"weight_decay must be a finite number of at least 0, not {weight_decay!r}")
    if not is_number(momentum) or momentum >= 1:
        raise UserError(f"momentum must be at least 0 and below 1, not {momentum!r}")
    if not isinstance(memory_mib, Integral) or int(memory_mib) < 1:
        raise UserError(f"memory_mib must be a whole number of MiB of at least 1, not {memory_mib!r}")
    if cache is not None and not isinstance(cache, (str, PathLike)):
        raise UserError(f"cache must be the path of a folder, not a {type(cache).__name__}")


def check_model(model: Any) -> None:
    """Refuse other objects than modules with parameters."""
    if not isinstance(model, nn.Module):
        raise UserError(f"model must be a torch.nn.Module, not a {type(model).__name__}")
    if next(model.parameters(), None) is None:
        raise UserError(
            f"model ({type(model).__name__}) has no parameters, so that there is nothing to attribute"
        )


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number that is not negative."""
    return isinstance(value, Real) and 0 <= float(value) < math.inf


def usable_device(device: str | torch.device) -> torch.device:
    """Return a device that exists."""
    try:
        return torch.zeros(1).to(device).device
    except (RuntimeError, AssertionError, TypeError) as error:  # torch raises all of them
        raise UserError(f"device '{device}' cannot be used: {' '.join(str(error).split())[:160]}") from error


def refuse_missing(
    choice: Choice, task: TaskConfig, models: int, checkpoints: Sequence[Sequence[Any]] | None
) -> None:
    """Refuse a method that needs what was not given."""
    source = f"method '{choice.name}'"
    for need in choice.needs:
        if need in _MISSING:
            raise UserError(f"{source} needs {_MISSING[need]}")
    if choice.tasks is not None and not task.is_among(choice.tasks):
        raise UserError(
            f"{source} is for {', '.join(choice.tasks)}, not for {task.lacks_classes or task.name}"
        )
    if choice.config.members > models:
        raise UserError(
            f"{source} needs {choice.config.members} models, and there are {models}; give models=[...]"
        )
    if checkpoints is not None and models > 1:
        raise UserError("give models or checkpoints, not both")
    if choice.checkpoints and (checkpoints is None or len(checkpoints) <= choice.checkpoints):
        raise UserError(
            f"{source} needs checkpoints along the training; give checkpoints=[(state, learning_rate), ...], the final one "
            "last"
        )


def history_of(
    checkpoints: Sequence[Sequence[Any]], model: nn.Module, momentum: float
) -> tuple[list[State], CheckpointTimes]:
    """Return the states and times of the checkpoints of one training."""
    states, rates, steps = [], [], []
    for number, entry in enumerate(checkpoints):
        if not isinstance(entry, Sequence) or len(entry) not in (2, 3):
            raise UserError(
                f"checkpoints[{number}] must be a pair (state, learning rate) or a triple with the number of steps"
            )
        if not is_number(entry[1]):
            raise UserError(
                f"checkpoints[{number}]: the learning rate must be a finite number of at least 0, not {entry[1]!r}"
            )
        if len(entry) == 3 and not isinstance(entry[2], Integral):
            raise UserError(
                f"checkpoints[{number}]: the number of steps must be an integer, not {entry[2]!r}"
            )
        states.append(state_of(entry[0], model))
        rates.append(float(entry[1]))
        steps.append(int(entry[2]) if len(entry) == 3 else number + 1)
    if steps != sorted(set(steps)):
        raise UserError(f"checkpoints must be in the order of training, with steps that grow, not {steps}")
    return states, CheckpointTimes.from_rates(steps, rates, momentum)

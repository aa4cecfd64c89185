"""Arguments of an :class:`proponent.Attributor`: refusals in one line, and the history of a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from proponent.config.schema import TaskConfig
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


def check_arguments(model: Any, models: Any, checkpoints: Any, dtype: torch.dtype | None) -> None:
    """Refuse arguments of other kinds than those that are documented."""
    if not isinstance(model, nn.Module):
        raise UserError(f"model must be a torch.nn.Module, not a {type(model).__name__}")
    if next(model.parameters(), None) is None:
        raise UserError(
            f"model ({type(model).__name__}) has no parameters, so that there is nothing to attribute"
        )
    for name, value in (("models", models), ("checkpoints", checkpoints)):
        if value is not None and (isinstance(value, str) or not isinstance(value, Sequence)):
            raise UserError(f"{name} must be a list, not a {type(value).__name__}; give {name}=[...]")
    if dtype not in (None, torch.float32, torch.float64):
        raise UserError(f"dtype must be torch.float32 or torch.float64, not {dtype}")


def usable_device(device: str | torch.device) -> torch.device:
    """Return a device that exists."""
    try:
        return torch.zeros(1).to(device).device
    except (RuntimeError, AssertionError) as error:  # torch raises both
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
    if not 0 <= momentum < 1:
        raise UserError(f"momentum must be at least 0 and below 1, not {momentum}")
    states, rates, steps = [], [], []
    for number, entry in enumerate(checkpoints):
        if not isinstance(entry, Sequence) or len(entry) not in (2, 3):
            raise UserError(
                f"checkpoints[{number}] must be a pair (state, learning rate) or a triple with the number of steps"
            )
        states.append(state_of(entry[0], model))
        rates.append(float(entry[1]))
        steps.append(int(entry[2]) if len(entry) == 3 else number + 1)
    if steps != sorted(set(steps)):
        raise UserError(f"checkpoints must be in the order of training, with steps that grow, not {steps}")
    return states, CheckpointTimes.from_rates(steps, rates, momentum)

"""Files that a training script writes for one model: weights, checkpoints with learning rates, or targets of queries.

The files and their formats are described in ``docs/your-own-training.md``.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from proponent.errors import UserError
from proponent.settings.fitted_states import fitted_state
from proponent.store.trained_states import read_state

WEIGHTS = ("final.safetensors", "final.pt")
TARGETS = "targets.txt"
RECORD = "training.json"
_COLUMNS = ("steps", "learning_rates", "learning_rate_sums")


@dataclass(frozen=True)
class TrainingRecord:
    """When the checkpoints of a model were saved, the final model last.

    Attributes:
        steps: optimiser steps until each checkpoint.
        learning_rates: learning rate at each checkpoint.
        learning_rate_sums: sum of the learning rates of all steps until each checkpoint.
        loss: points of the loss curve.
        loss_steps: optimiser steps of these points.
    """

    steps: list[int] = field(default_factory=lambda: [1])
    learning_rates: list[float] = field(default_factory=lambda: [1.0])
    learning_rate_sums: list[float] = field(default_factory=lambda: [1.0])
    loss: list[float] = field(default_factory=list)
    loss_steps: list[int] = field(default_factory=list)


def read_weights(out: Path, like: nn.Module) -> dict[str, Tensor]:
    """Return the state dict of the final model under the names of ``like``.

    Raises:
        UserError: there is no such file, or it does not fit the model.
    """
    return _fitted(_only(out, WEIGHTS), like)


def read_checkpoint(out: Path, step: int, like: nn.Module) -> dict[str, Tensor]:
    """Return the state dict that was saved after ``step`` optimiser steps, under the names of ``like``.

    Raises:
        UserError: there is no such file, or it does not fit the model.
    """
    names = [f"step-{step:06d}{Path(name).suffix}" for name in WEIGHTS]
    return _fitted(_only(out, names), like)


def read_record(out: Path, checkpoints: int) -> TrainingRecord:
    """Return the record of a training; without checkpoints, the script need not write one.

    Args:
        out: folder that the script wrote.
        checkpoints: number of checkpoints before the final model (``ensemble.checkpoints``).

    Raises:
        UserError: the record is missing, malformed or has another number of checkpoints.
    """
    path = out / RECORD
    if not path.is_file():
        if checkpoints:
            raise UserError(
                f"the script wrote no {RECORD}, and ensemble.checkpoints is {checkpoints}; write it"
            )
        return TrainingRecord()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{RECORD} is not JSON ({error})") from error
    if not isinstance(content, dict) or "steps" not in content or "learning_rates" not in content:
        raise UserError(f"{RECORD} must hold the lists 'steps' and 'learning_rates'")
    unknown = sorted(set(content) - {*_COLUMNS, "loss", "loss_steps"})
    if unknown:
        raise UserError(f"{RECORD} has the unknown entry '{unknown[0]}'; leave it out")
    steps = _numbers(content, "steps")
    rates = _numbers(content, "learning_rates")
    if not all(step == int(step) and step > 0 for step in steps) or steps != sorted(set(steps)):
        raise UserError(f"{RECORD}: steps must be whole numbers that grow, not {content['steps']}")
    if len(steps) != checkpoints + 1:
        raise UserError(
            f"{RECORD} has {len(steps)} steps, and ensemble.checkpoints is {checkpoints}; write {checkpoints + 1}, that of "
            "the final model last"
        )
    sums = _numbers(content, "learning_rate_sums") if "learning_rate_sums" in content else _sums(steps, rates)
    loss, loss_steps = (_numbers(content, name) if name in content else [] for name in ("loss", "loss_steps"))
    lengths = {"learning_rates": rates, "learning_rate_sums": sums}
    for name, values in lengths.items():
        if len(values) != len(steps) or min(values) < 0:
            raise UserError(f"{RECORD}: {name} must hold {len(steps)} numbers that are not negative")
    if len(loss) != len(loss_steps):
        raise UserError(f"{RECORD}: loss has {len(loss)} numbers and loss_steps {len(loss_steps)}")
    return TrainingRecord(
        [int(step) for step in steps], rates, sums, loss, [int(step) for step in loss_steps]
    )


def read_targets(out: Path, n_query: int) -> Tensor:
    """Return the targets that a script wrote, (n_query,) float32, one number per line; a NaN marks a failed training.

    Raises:
        UserError: there is no such file, a line is not a number, or the number of lines is not that of queries.
    """
    path = _only(out, (TARGETS,))
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    values = []
    for row, line in enumerate(lines, start=1):
        try:
            values.append(float(line))
        except ValueError as error:
            raise UserError(
                f"{TARGETS}: line {row} is {line.strip()[:40]!r}; write one number per line"
            ) from error
    if len(values) != n_query:
        raise UserError(
            f"{TARGETS} has {len(values)} lines, and there are {n_query} queries; write one number per query, in the order "
            "of query.safetensors"
        )
    return torch.tensor(values, dtype=torch.float64).float()


def is_finite(state: dict[str, Tensor]) -> bool:
    """Return whether all numbers of a state dict are finite."""
    return all(bool(value.isfinite().all()) for value in state.values())


def _only(out: Path, names: tuple[str, ...] | list[str]) -> Path:
    """Return the file with one of ``names``; a UserError says what is there instead."""
    for name in names:
        if (out / name).is_file():
            return out / name
    found = ", ".join(sorted(path.name for path in out.iterdir())[:6]) or "nothing"
    raise UserError(f"the script wrote no {' or '.join(names)} into the folder {{out}}, but {found}")


def _fitted(file: Path, like: nn.Module) -> dict[str, Tensor]:
    return fitted_state(read_state(file), like, file.name, partly=False)


def _numbers(content: dict[str, Any], name: str) -> list[float]:
    values = content[name]
    if not isinstance(values, list) or not values:
        raise UserError(f"{RECORD}: {name} must be a list of numbers")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise UserError(f"{RECORD}: {name} must be a list of finite numbers, not {values!r}")
    return [float(value) for value in values]


def _sums(steps: list[float], rates: list[float]) -> list[float]:
    """Return sums of learning rates, where each checkpoint's rate holds since the one before."""
    sums, last, total = [], 0.0, 0.0
    for step, rate in zip(steps, rates, strict=False):
        total += (step - last) * rate
        sums.append(total)
        last = step
    return sums

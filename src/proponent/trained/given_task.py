"""The task that somebody gave: by name, with arguments, or as a class of their own."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from proponent.config.load import structured
from proponent.config.model_schema import TaskConfig
from proponent.config.task_names import LOGIT_TASKS, written_task
from proponent.notes import Note
from proponent.settings.tasks import Task, get_task
from proponent.settings.tasks.own_task import OwnTask


def given_task(task: Any) -> tuple[Task, TaskConfig]:
    """Return a task, and its name and arguments.

    Args:
        task: name, mapping of ``name`` and the arguments of the task, or a class (or an instance of one) with the methods
            ``loss(outputs, y)`` and ``target(outputs, y)``.

    Raises:
        UserError: there is no such task, its arguments do not fit, or the class lacks a method.
    """
    if isinstance(task, (str, Mapping)):
        config = structured(TaskConfig, written_task(task, "task"), "task")
        return get_task(config), config
    own = task() if isinstance(task, type) else task
    if not isinstance(own, Task):
        own = OwnTask(own, f"{type(own).__module__}:{type(own).__qualname__}")
    return own, TaskConfig(own.name)


def note_probabilities(outputs: Tensor, task: Task) -> None:
    """Emit a note where a task takes logits and the outputs (n, ..., classes) of a model are probabilities."""
    if task.name not in LOGIT_TASKS or outputs.ndim < 2 or outputs.shape[-1] < 2:
        return
    if bool((outputs >= 0).all()) and bool(((outputs.sum(-1) - 1).abs() < 1e-3).all()):
        warnings.warn(
            "outputs look like probabilities: all in [0, 1] and rows sum to 1, "
            f"but the task {task.name} takes logits; return the inputs of the last softmax",
            Note,
            stacklevel=5,
        )

"""The task that somebody gave: by name, with arguments, or as a class of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proponent.config.load import structured
from proponent.config.schema import TaskConfig
from proponent.config.task_names import written_task
from proponent.settings.tasks import Task, get_task
from proponent.settings.tasks.own_task import OwnTask


def given_task(task: Any) -> Task:
    """Return a task.

    Args:
        task: name, mapping of ``name`` and the arguments of the task, or a class (or an instance of one) with the methods
            ``loss(outputs, y)`` and ``target(outputs, y)``.

    Raises:
        UserError: there is no such task, its arguments do not fit, or the class lacks a method.
    """
    if isinstance(task, (str, Mapping)):
        return get_task(structured(TaskConfig, written_task(task, "task"), "task"))
    own = task() if isinstance(task, type) else task
    return own if isinstance(own, Task) else OwnTask(own, f"{type(own).__module__}:{type(own).__qualname__}")

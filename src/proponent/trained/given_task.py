"""The task that somebody gave: by name, with arguments, or as a class of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proponent.config.load import structured
from proponent.config.schema import TaskConfig
from proponent.config.task_names import written_task
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

"""The task of a setting from its configuration."""

from __future__ import annotations

from functools import partial

from proponent.config.model_schema import FactoryConfig, TaskConfig
from proponent.config.task_names import TASKS, task_code
from proponent.settings.imported_callables import call_factory, imported
from proponent.settings.tasks.chosen_target import ChosenTarget
from proponent.settings.tasks.own_task import OwnTask
from proponent.settings.tasks.task import Task


def get_task(task: TaskConfig | str, target: FactoryConfig | None = None) -> Task:
    """Return a task.

    Args:
        task: name and arguments, or the name alone.
        target: function of outputs and labels that is attributed instead of the task's own target.

    Raises:
        UserError: there is no such task (the message suggests the nearest name), its arguments do not fit, or a class of
            the user's own lacks a method.
    """
    config = TaskConfig(task) if isinstance(task, str) else task
    made = call_factory(FactoryConfig(task_code(config), config.args), seed=0, kind="task")
    if config.name not in TASKS:
        made = made if isinstance(made, Task) else OwnTask(made, config.name)
    else:
        made.name = config.name
    found: Task = made
    if target is None:
        return found
    return ChosenTarget(found, partial(imported(target.factory, "target"), **target.args), target.factory)

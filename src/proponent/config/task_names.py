"""Names of the tasks of this package, and what a setting's configuration says of its task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proponent.config.load import nearest
from proponent.config.model_schema import TaskConfig
from proponent.errors import UserError

_PACKAGE = "proponent.settings.tasks"
TASKS = {
    "classification": f"{_PACKAGE}.classification:classification",
    "binary": f"{_PACKAGE}.binary:binary",
    "multi-label": f"{_PACKAGE}.multi_label:MultiLabel",
    "regression": f"{_PACKAGE}.regression:Regression",
    "huber": f"{_PACKAGE}.regression:Huber",
    "language-model": f"{_PACKAGE}.language_model:LanguageModel",
    "masked-language-model": f"{_PACKAGE}.language_model:TokenMargins",
    "seq2seq": f"{_PACKAGE}.language_model:TokenMargins",
    "contrastive": f"{_PACKAGE}.language_model:TokenMargins",
}
"""Class or function that makes each task of the package; its keyword arguments are the keys of ``task`` in a setting."""
LOGIT_TASKS = tuple(name for name in TASKS if name not in ("regression", "huber"))
"""Tasks of the package whose outputs are logits."""


def written_task(content: Any, source: str) -> dict[str, Any]:
    """Return the fields of a :class:`~proponent.config.model_schema.TaskConfig` from the value of ``task`` in a setting.

    Args:
        content: a name, or a mapping of ``name`` and the arguments of the task.
        source: file that holds the value, the beginning of every error.

    Raises:
        UserError: it is neither a name nor a mapping with one.
    """
    if isinstance(content, str):
        return {"name": content, "args": {}}
    if not isinstance(content, Mapping) or not isinstance(content.get("name"), str):
        raise UserError(
            f"{source}: 'task' must be a name, or a mapping of 'name' and the arguments of the task, not {content!r}"
        )
    return {"name": content["name"], "args": {key: value for key, value in content.items() if key != "name"}}


def task_code(task: TaskConfig) -> str:
    """Return the definition (``module:name``) that makes a task: one of the package, or one of the user's own.

    Raises:
        UserError: there is no such task; the message suggests the nearest name.
    """
    if task.name not in TASKS and ":" not in task.name:
        raise UserError(
            f"unknown task '{task.name}'{nearest(task.name, TASKS)} (a task of your own reads 'package.module:Task')"
        )
    return TASKS.get(task.name, task.name)

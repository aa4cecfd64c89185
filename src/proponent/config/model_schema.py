"""Dataclasses behind the factories, the task and the model of a setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class FactoryConfig:
    """An importable Python callable and its keyword arguments."""

    factory: str
    args: dict[str, Any] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    """Files that the factory reads; their bytes are part of the content key."""


CLASS_TASKS = ("classification", "binary")
"""Tasks whose labels are classes, one per example."""


@dataclass
class TaskConfig:
    """Loss and target of a setting: a task of this package, or a class of the user's own."""

    name: str
    """Name of a task (:data:`proponent.config.task_names.TASKS`), or ``package.module:Task``."""
    args: dict[str, Any] = field(default_factory=dict)
    """Arguments of the task by name."""

    @property
    def lacks_classes(self) -> str | None:
        """Why examples do not have one class each; None if they have."""
        if self.name not in CLASS_TASKS:
            return self.name
        return f"{self.name} with ignore_index" if self.args.get("ignore_index") is not None else None

    def is_among(self, wanted: Sequence[str]) -> bool:
        """Return whether the task is one of ``wanted``; binary classification is classification."""
        if self.lacks_classes is None:
            return self.name in wanted or "classification" in wanted
        return self.name in wanted and self.name not in CLASS_TASKS


@dataclass
class PretrainedConfig:
    """Trained weights that a model factory loads, from which every model of the setting starts."""

    name: str
    """Where the weights come from, for readers of the results."""
    file: str
    """File or folder of the weights, relative to the checkout; its bytes are part of the content key."""
    licence: str = "unknown"


@dataclass
class ModelConfig(FactoryConfig):
    """A model factory."""

    pretrained: PretrainedConfig | None = None

"""The parts of a job's specification that reports read: setting, kind and size of the job.

A job is either planned (a node of the graph) or was done earlier (known from its manifest, perhaps of another
configuration).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Task(Protocol):
    """A job, planned (a node) or done earlier (known from a manifest)."""

    @property
    def path(self) -> str: ...  # noqa: D102
    @property
    def step(self) -> str: ...  # noqa: D102
    @property
    def content(self) -> Mapping[str, Any]:
        """The specification as JSON: manifests may be those of an earlier version, whose fields differ."""


def setting_of(task: Task) -> str:
    """Return the setting to which a job belongs, or an empty string for jobs that combine all settings."""
    return str(task.content.get("setting", ""))


def kind_of(task: Task) -> tuple[str, str]:
    """Return what jobs of one kind have in common: the step, and the method or the kind of features."""
    own = {"attribute": "method", "adopt": "method", "repeat": "method", "featurize": "kind"}.get(task.step)
    return (task.step, str(task.content[own]) if own else "")


def units(task: Task) -> int:
    """Return the number of models that a job trains or reads: retrainings or members, and 1 for other steps."""
    if task.step in ("retrain", "retrain_script", "retrain_masks"):
        first, stop = task.content["runs"]
        return int(stop) - int(first)
    if task.step == "search_removal":
        first, stop = task.content["orders"]
        return int(task.content["seeds"]["seeds"]) * (1 + (1 + int(task.content["rounds"])) * (stop - first))
    members = task.content.get("members")
    if task.step in ("attribute", "repeat") and isinstance(members, int):
        return members
    return len(members) if isinstance(members, list) else 1


def family_of(task: Task) -> str:
    """Return the method family of a job that runs a method; the family has a rule of the same name."""
    return str(task.content["family"])

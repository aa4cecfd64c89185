"""Fields that specifications of steps share.

The plan builds a specification and its inputs (:mod:`proponent.config.specifications.step_inputs`), the key file carries
them as JSON, and the job restores the same dataclasses. Every field of a specification is part of the artefact's content
key; inputs enter through their own keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from proponent.config.model_schema import FactoryConfig


@dataclass
class ModelSpec(FactoryConfig):
    """A model factory, and the factory of what is done to the inputs first."""

    preprocess: FactoryConfig | None = None


@dataclass(frozen=True)
class Engine:
    """Where and how widely a step computes; both may change a byte, so they are part of the key."""

    threads: int = 1
    """Threads of torch and BLAS, independent of how many cores happen to be free."""
    device: str = "cpu"
    """``cpu``, ``cuda`` or ``auto``, as configured."""


@dataclass(frozen=True, kw_only=True)
class StepSpec:
    """Fields that every specification has."""

    step: ClassVar[str]
    """Module of :mod:`proponent.steps`, rule and subcommand."""
    inputs_type: ClassVar[type[Any]]
    engine: Engine = Engine()


@dataclass(frozen=True, kw_only=True)
class SettingSpec(StepSpec):
    """Fields of a step that belongs to one setting."""

    setting: str

"""Memory of a method, from its own formula, before anything is computed."""

from __future__ import annotations

import inspect
from dataclasses import replace
from types import ModuleType
from typing import Any

from proponent.config.specifications.step_specs import AttributeSpec
from proponent.memory_budget import MemoryBudget
from proponent.methods.shared.problem_size import ProblemSize


def require_memory(spec: AttributeSpec, module: ModuleType, n_train: int, n_query: int) -> None:
    """Refuse a method that is too large for ``compute.memory_mib``.

    Methods that use the model itself compare with it when they know the number of its parameters.

    Raises:
        UserError: the method needs more memory; the message says how much.
    """
    if spec.network is None and spec.replay is None:
        needed = required_mib(spec, module, ProblemSize(n_train, n_query), queries=1)
        MemoryBudget(spec.memory_mib).require(needed, f"configs/methods/{spec.method}.yaml")


def required_mib(spec: AttributeSpec, module: ModuleType, size: ProblemSize, queries: int) -> float:
    """Return the memory of the most expensive candidate for ``queries`` queries at a time, in MiB."""
    need = getattr(module, "memory", None)
    if need is None:
        return size.scores()
    defaults = inspect.signature(getattr(module, spec.function)).parameters
    names = [
        item.name for item in inspect.signature(need).parameters.values() if item.kind is item.KEYWORD_ONLY
    ]
    dampings = len({candidate.get("damping") for candidate in spec.candidates})
    found: list[float] = []
    for candidate in spec.candidates:
        values: dict[str, Any] = {name: candidate.get(name, defaults[name].default) for name in names}
        found.append(float(need(replace(size, dampings=dampings), queries, **values)))
    return max(found)

"""Memory of a method, from its own formula, before anything is computed; without torch."""

from __future__ import annotations

import importlib
import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from safetensors import safe_open

from proponent.config.specifications.method_specs import AttributeSpec
from proponent.memory_budget import PlannedMemory
from proponent.methods.shared.problem_size import ProblemSize
from proponent.methods.shared.stated_memory import stated_mib


def refusal(root: Path, spec: AttributeSpec) -> str | None:
    """Return why a method that uses no model cannot run within ``compute.memory_mib``; None if it can.

    Args:
        root: the checkout.
        spec: specification of the method's job.
    """
    rows = row_counts(root, spec.setting)
    if not all(rows):
        return None
    planned = plan_memory(spec, ProblemSize(*rows))
    return over_budget(planned, math.ceil(planned.least_mib))


def plan_memory(spec: AttributeSpec, size: ProblemSize, held: float = 0.0) -> PlannedMemory:
    """Return the memory of a method.

    Args:
        spec: specification of the method's job.
        size: size of the problem.
        held: memory of the gradients of all examples and queries, in MiB. They are joined from blocks, and then in memory
            twice.
    """
    module = importlib.import_module(spec.module)
    together, alone = (held + required_mib(spec, module, size, queries) for queries in (size.n_query, 1))
    return PlannedMemory(max(alone, 2 * held), max(together, 2 * held), spec.memory_mib)


def over_budget(planned: PlannedMemory, enough: int) -> str | None:
    """Return why a method cannot run; None if it can.

    Args:
        planned: memory of the method.
        enough: ``compute.memory_mib`` that suffices, in MiB.
    """
    if planned.fits:
        return None
    return (
        f"needs {enough} MiB of memory and compute.memory_mib is {planned.budget_mib:.0f}: raise it to {enough}, or leave "
        "the method out"
    )


def required_mib(spec: AttributeSpec, module: ModuleType, size: ProblemSize, queries: int) -> float:
    """Return the memory of the most expensive candidate for ``queries`` queries at a time, in MiB."""
    dampings = len({candidate.get("damping") for candidate in spec.candidates})
    size, function = replace(size, dampings=dampings), getattr(module, spec.function)
    return max(stated_mib(module, function, size, queries, candidate) for candidate in spec.candidates)


def row_counts(root: Path, setting: str) -> tuple[int, int]:
    """Return the numbers of training examples and of queries of the stored data; 0 for a file that does not exist."""
    train, query = (_rows(root / f"results/{setting}/data/{side}.safetensors") for side in ("train", "query"))
    return train, query


def _rows(path: Path) -> int:
    if not path.exists():
        return 0
    with safe_open(path, framework="numpy") as stored:
        return int(stored.get_slice("y").get_shape()[0])

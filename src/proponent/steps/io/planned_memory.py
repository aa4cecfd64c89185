"""Memory that a method will need on a setting, from stored data and the check; for the check, for jobs and for ``plan``."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from proponent.config.specifications.method_specs import AttributeSpec
from proponent.config.specifications.restore import parse
from proponent.features.curvature.kronecker_factors import factors_mib
from proponent.features.member_network import pass_memory_mib
from proponent.memory_budget import PlannedMemory
from proponent.methods.shared.problem_size import ProblemSize
from proponent.self_check.problem_sizes import Sizes
from proponent.steps.io.method_memory import over_budget, plan_memory, row_counts
from proponent.store.files import read_json
from proponent.training.designs import member_run
from proponent.training.recipe import learning_rates
from proponent.training.stages import stages_of
from proponent.training.update import n_slots

LIBRARIES_MIB = 400.0
"""Memory of the interpreter with torch, and of the sparse matrices that a process keeps (projection.py: KEPT_BLOCKS)."""


def job_mib(root: Path, spec: AttributeSpec) -> float | None:
    """Return the memory of a method's job in MiB, with the interpreter and its libraries.

    A method that uses the model takes at most ``compute.memory_mib``, which is the answer as long as the sizes of the model
    are not known.
    """
    planned = planned_memory(root, spec)
    if planned is not None:
        return LIBRARIES_MIB + planned.taken_mib
    uses_model = spec.network is not None or spec.replay is not None
    return LIBRARIES_MIB + spec.memory_mib if uses_model else None


def planned_memory(root: Path, spec: AttributeSpec) -> PlannedMemory | None:
    """Return the memory of a method's tensors from the stored data and the check of the setting; None without these."""
    rows, found = row_counts(root, spec.setting), _sizes(root, spec.setting)
    uses_model = spec.network is not None or spec.replay is not None
    if not all(rows) or (uses_model and found is None):
        return None
    size, held = ProblemSize(*rows), 0.0
    if uses_model and found is not None:
        size = replace(
            size,
            shapes=found.shapes,
            itemsize=found.itemsize,
            n_outputs=found.n_outputs,
            pass_mib=pass_memory_mib(spec.memory_mib),
            root_row=found.root_row,
            kronecker_mib=factors_mib(found.shapes, found.itemsize),
        )
        if spec.network is not None:
            held = size.numbers(found.factored * sum(rows))
        if spec.replay is not None:
            recipe = spec.replay.recipe
            rates = learning_rates(recipe, stages_of(recipe, member_run(spec.replay.seed, 0), rows[0]))
            steps, slots, batch = len(rates), n_slots(recipe), recipe.largest_batch
            size = replace(size, steps=steps, slots=slots, batch=batch, replay_mib=found.replay_mib)
    return plan_memory(spec, size, held)


def refusal(root: Path, spec: AttributeSpec) -> str | None:
    """Return why a method cannot run within ``compute.memory_mib``; None if it can, or if there is no check.

    Args:
        root: the checkout.
        spec: specification of the method's job.
    """
    storage = _check(root, spec.setting).get("gradients")
    stored = storage["dim"] if storage and "gradients" in spec.needs else 0
    wanted = max((candidate.get("projection_dim", 0) for candidate in spec.candidates), default=0)
    if 0 < stored < wanted:
        return (
            f"asks for a projection to {wanted} dimensions, and gradients are stored in {stored}: ask for at most {stored}, "
            "or raise compute.memory_mib"
        )
    planned = planned_memory(root, spec)
    return over_budget(planned, enough_mib(root, spec)) if planned else None


def enough_mib(root: Path, spec: AttributeSpec) -> int:
    """Return the smallest ``compute.memory_mib`` with which a method runs; the present one if it does.

    Passes through the model take a share of the memory, so that the need of a method grows with it.
    """
    enough, planned = spec.memory_mib, planned_memory(root, spec)
    while planned is not None and not planned.fits:
        enough = math.ceil(planned.least_mib)
        planned = planned_memory(root, replace(spec, memory_mib=enough))
    return enough


def _sizes(root: Path, setting: str) -> Sizes | None:
    """Return the sizes of a setting's model; None without a check, or with one of a version that has other sizes."""
    sizes = _check(root, setting).get("sizes")
    try:
        return None if sizes is None else parse(Sizes, sizes)
    except TypeError:
        return None


def _check(root: Path, setting: str) -> dict[str, Any]:
    """Return the content of the check of a setting; nothing where there is none."""
    path = root / f"results/{setting}/check.json"
    return _read(path, path.stat().st_mtime_ns) if path.exists() else {}


@lru_cache(maxsize=8)
def _read(path: Path, modified: int) -> dict[str, Any]:
    """Return the content of a file, read once for each time of modification."""
    content: dict[str, Any] = read_json(path)
    return content

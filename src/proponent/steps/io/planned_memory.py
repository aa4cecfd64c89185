"""Memory that a method will need on a setting, from stored data and models; for ``proponent plan``."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

from safetensors import safe_open

from proponent.config.specifications.step_specs import AttributeSpec
from proponent.features.curvature.kronecker_factors import factors_mib
from proponent.features.member_network import pass_memory_mib
from proponent.methods.shared.problem_size import ProblemSize
from proponent.steps.io.method_memory import required_mib
from proponent.store.files import read_json
from proponent.training.designs import member_run
from proponent.training.recipe import learning_rates
from proponent.training.stages import stages_of
from proponent.training.update import n_slots

LIBRARIES_MIB = 400.0
"""Memory of the interpreter with torch."""
_PASS_MIB = 128.0
"""Memory of the activations in a pass of a replay, at most."""
_ITEMSIZE = 4
"""Bytes of a number in trained models."""


def job_mib(root: Path, spec: AttributeSpec) -> float | None:
    """Return the memory of a method's job in MiB, with the interpreter and its libraries.

    A method that uses the model takes at most ``compute.memory_mib``, which is the answer as long as the number of
    parameters is not known.
    """
    needed = planned_mib(root, spec)
    if needed is None and (spec.network is not None or spec.replay is not None):
        needed = float(spec.memory_mib)
    return None if needed is None else LIBRARIES_MIB + needed


def planned_mib(root: Path, spec: AttributeSpec) -> float | None:
    """Return the memory of a method's tensors, in MiB, from the stored data and the check of the setting.

    Returns:
        The smaller of what all queries together need and ``compute.memory_mib``; what one query needs where that is more,
        so that the method will be refused. None where these do not exist yet.
    """
    folder = root / "results" / spec.setting
    rows = [_shapes(folder / "data" / f"{side}.safetensors") for side in ("train", "query")]
    uses_model = spec.network is not None or spec.replay is not None
    parameters = _parameters(folder / "check.json") if uses_model else []
    if not all(rows) or (uses_model and not parameters):
        return None
    n_train, n_query = (side[0][0] for side in rows)
    size = ProblemSize(
        n_train,
        n_query,
        shapes=tuple(parameters),
        n_outputs=parameters[-1][0] if parameters and parameters[-1] else 1,
        pass_mib=pass_memory_mib(spec.memory_mib),
        kronecker_mib=factors_mib(parameters, _ITEMSIZE),
    )
    if spec.replay is not None:
        recipe = spec.replay.recipe
        rates = learning_rates(recipe, stages_of(recipe, member_run(spec.replay.seed, 0), n_train))
        size = replace(
            size, steps=len(rates), slots=n_slots(recipe), batch=recipe.largest_batch, replay_mib=_PASS_MIB
        )
    module = importlib.import_module(spec.module)
    together, alone = (required_mib(spec, module, size, queries) for queries in (n_query, 1))
    return max(alone, min(together, spec.memory_mib))


def _parameters(check: Path) -> list[tuple[int, ...]]:
    """Return the shapes of the model's parameters that the check of the setting recorded; none without a check."""
    content = read_json(check) if check.exists() else {}
    return [tuple(shape) for shape in content.get("shapes", [])]


def _shapes(path: Path) -> list[tuple[int, ...]]:
    """Return the shapes of the tensors in a file; none if it does not exist."""
    if not path.exists():
        return []
    with safe_open(path, framework="numpy") as stored:
        return [tuple(stored.get_slice(name).get_shape()) for name in stored.keys()]  # noqa: SIM118

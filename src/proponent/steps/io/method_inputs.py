"""Inputs of a method (:mod:`proponent.methods.shared.needs`), by the names of its arguments and one member at a time."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from proponent.config.specifications.method_specs import AttributeSpec
from proponent.config.specifications.need_loaders import LOADERS, uses_models
from proponent.config.specifications.step_inputs import AttributeInputs
from proponent.steps.io.job import Job

if TYPE_CHECKING:
    from proponent.settings.split import Arrays
    from proponent.steps.io.stored_arrays import NumpyData


def member_inputs(
    job: Job[AttributeSpec, AttributeInputs],
    data: Arrays | NumpyData,
    rows: slice,
    members: int,
    first: int = 0,
) -> Iterator[dict[str, Any]]:
    """Yield, for each of ``members`` members of the ensemble, the arguments that a method needs by name.

    Stored tensors are read when a method asks for them, and only while their member is the current one.

    Args:
        job: job of the method.
        data: all training examples and queries.
        rows: queries that are wanted.
        members: number of members, at most the number that the method uses.
        first: the first of them.
    """
    needs = job.spec.needs
    shared = shared_inputs(job, needs, data, rows)
    own = [need for need in needs if need in LOADERS and need not in shared]
    if not own:
        yield shared
        return
    for member in range(first, first + members):
        with ExitStack() as opened:
            yield shared | {
                need: importlib.import_module(LOADERS[need]).read(job, need, member, data, rows, opened)
                for need in own
            }


def shared_inputs(
    job: Job[AttributeSpec, AttributeInputs], needs: Iterable[str], data: Arrays | NumpyData, rows: slice
) -> dict[str, Any]:
    """Return those of the arguments that are the same for all members: data, retrainings, other methods' scores."""
    shared: dict[str, Any] = {}
    for need in needs:
        if need == "data":
            shared["data"] = data.with_queries(rows)
        elif need in LOADERS and not uses_models([need]):
            shared[need] = importlib.import_module(LOADERS[need]).read(job, need, rows)
    return shared

"""What a method is handed (proponent.methods.shared.needs), by the names of its arguments and one member at a time."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from proponent.settings.split import Arrays
from proponent.steps.io.job import Job
from proponent.steps.io.stored_retrainings import read_permutations, read_retrainings
from proponent.store.tensors import load_tensors

FEATURES = "proponent.steps.io.stored_features"
"""Imported only for methods that look at models, so that a change of the engines reaches no others."""


def member_inputs(job: Job, data: Arrays, rows: slice, members: int) -> Iterator[dict[str, Any]]:
    """Yield, for each of the first ``members`` of the ensemble, the arguments that a method needs by name.

    Stored tensors are read when a method asks for them, and only while its member is the current one.

    Args:
        job: of the method.
        data: all training examples and queries.
        rows: the queries that are wanted.
        members: how many, at most those that the method uses.
    """
    needs = job.spec["needs"]
    shared = shared_inputs(job, needs, data, rows)
    own = [need for need in needs if need not in shared]
    if not own:
        yield shared
        return
    feature = importlib.import_module(FEATURES).feature
    for member in range(members):
        with ExitStack() as opened:
            yield shared | {need: feature(job, need, member, data, rows, opened) for need in own}


def shared_inputs(job: Job, needs: Sequence[str], data: Arrays, rows: slice) -> dict[str, Any]:
    """Return those of the arguments that are the same for all members: data, retrainings, other methods' scores."""
    shared: dict[str, Any] = {}
    if "data" in needs:
        shared["data"] = data._replace(x_query=data.x_query[rows], y_query=data.y_query[rows])
    if "retrainings" in needs:
        shared["retrainings"] = read_retrainings(job, "fit", rows)
    if "scores" in needs:
        shared["scores"] = {
            name: load_tensors(job.read(job.input(f"/scores/{name}.safetensors")))["scores"][rows]
            for name in job.spec["scores"]
        }
    if "permutations" in needs:
        shared["permutations"] = read_permutations(job, "permutations", rows)
    return shared

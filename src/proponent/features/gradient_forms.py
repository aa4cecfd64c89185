"""Gradients of a model in the form that fits into memory: exact factors, or a sparse random projection."""

from __future__ import annotations

import warnings

from torch import Tensor

from proponent.features.gradients.block import Block
from proponent.features.gradients.capture import Capture, Cotangents
from proponent.features.gradients.joined_blocks import JoinedBlocks, JoinedRows
from proponent.features.storage_choice import StorageChoice, choose_storage
from proponent.notes import Note
from proponent.rows import Rows

PROJECTION = "sparse"


def choose_form(capture: Capture, rows: int, memory_mib: float) -> StorageChoice:
    """Return the form in which the gradients of ``rows`` examples fit into ``memory_mib``.

    Raises:
        UserError: not even a small projection fits.
    """
    numbers, last = capture.numbers_per_example(), capture.numbers_per_example(capture.last)
    itemsize = next(iter(capture.parameters.values())).element_size()
    return choose_storage(rows, numbers, last, itemsize, memory_mib)


def gradients_in_form(
    capture: Capture,
    cotangents: Cotangents,
    x: Rows,
    y: Tensor,
    choice: StorageChoice,
    seed: int,
    pass_mib: int,
) -> tuple[Block, Tensor]:
    """Return gradients in the chosen form, and the outputs.

    Args:
        capture: capture of the model.
        cotangents: function that gives the vectors propagated back.
        x: (n, ...) inputs.
        y: (n, ...) labels.
        choice: form of the gradients.
        seed: seed of a projection.
        pass_mib: memory of forward and backward passes, in MiB.
    """
    if choice.choice == "factored":
        return capture.all_gradients(x, y, cotangents, pass_mib)
    joined, outs = JoinedBlocks(x), JoinedRows(len(x))
    for rows, block, out in capture.chunks(x, y, cotangents, pass_mib):
        projected = block.project(choice.dim, PROJECTION, seed)
        if choice.last_dim:
            projected = projected.project_last(choice.last_dim, PROJECTION, seed)
        joined.put(rows, projected)
        outs.put(rows, out)
    return joined.get(), outs.get()


def note_projected(dim: int, last: bool, limit: str) -> None:
    """Emit a note where gradients are a projection.

    Args:
        dim: dimensions of the projection; 0 for exact gradients.
        last: whether those of the last layer are exact.
        limit: name of the limit of memory that exact gradients exceed.
    """
    if dim:
        apart = ", except those of the last layer" if last else ""
        text = f"gradients are projected to {dim} dimensions{apart}: exact ones exceed {limit}"
        warnings.warn(text, Note, stacklevel=3)

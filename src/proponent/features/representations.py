"""Results of a forward pass without gradients: outputs, and the input of the last linear layer."""

from __future__ import annotations

import torch
from torch import Tensor

from proponent.chunking import chunks
from proponent.features.gradients.capture import Capture
from proponent.features.gradients.joined_blocks import JoinedRows
from proponent.rows import Rows


def outputs(capture: Capture, x: Rows, memory_mib: int = 1000) -> Tensor:
    """Return the outputs, (n, ...), computed for as many examples at a time as ``memory_mib`` allows."""
    joined = JoinedRows(len(x))
    for rows in chunks(len(x), capture.chunk_size(x, memory_mib)):
        joined.put(rows, capture.outputs(x[rows]))
    return joined.get()


def representations(capture: Capture, x: Rows, memory_mib: int = 1000) -> Tensor:
    """Return the input of the last linear layer, (n, width), averaged over its positions.

    Raises:
        UserError: the model has no linear layer.
    """
    joined = JoinedRows(len(x))
    for rows in chunks(len(x), capture.chunk_size(x, memory_mib)):
        joined.put(rows, capture.representations(x[rows]))
    return joined.get()


def is_representation(capture: Capture, x: Rows, one: Tensor, memory_mib: int = 1000) -> bool:
    """Return whether the representations are an input of the model itself, as a linear model's are.

    Inputs of another type, such as integers that the model casts itself, are not what the layer multiplies.

    Args:
        capture: model.
        x: (n, ...) all inputs.
        one: (n, ...) one of them.
        memory_mib: memory of passes in MiB; the first chunk of examples decides in most cases.
    """
    return all(
        (found := capture.representations(x[rows])).dtype == one.dtype
        and torch.equal(found, one[rows].flatten(1))
        for rows in chunks(len(x), capture.chunk_size(x, memory_mib))
    )

"""Results of a forward pass without gradients: outputs, and the input of the last linear layer."""

from __future__ import annotations

import torch
from torch import Tensor

from proponent.chunking import chunks
from proponent.features.gradients.capture import Capture
from proponent.rows import Rows


def outputs(capture: Capture, x: Rows, memory_mib: int = 1000) -> Tensor:
    """Return the outputs, (n, ...), computed for as many examples at a time as ``memory_mib`` allows."""
    return torch.cat([capture.outputs(x[rows]) for rows in chunks(len(x), capture.chunk_size(x, memory_mib))])


def representations(capture: Capture, x: Rows, memory_mib: int = 1000) -> Tensor:
    """Return the input of the last linear layer, (n, width), averaged over its positions.

    Raises:
        UserError: the model has no linear layer.
    """
    step = capture.chunk_size(x, memory_mib)
    return torch.cat([capture.representations(x[rows]) for rows in chunks(len(x), step)])

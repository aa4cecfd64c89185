"""Passes of a model in training mode that leave its buffers as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """Restore the buffers of a model after the block, such as running statistics, which a forward pass updates."""
    owners = [(part, name, value) for part in model.modules() for name, value in part._buffers.items()]
    copies = [None if value is None else value.clone() for _, _, value in owners]
    try:
        yield
    finally:
        with torch.no_grad():
            for (part, name, value), copy in zip(owners, copies, strict=True):
                if value is not None and copy is not None:
                    value.copy_(copy)
                part._buffers[name] = value

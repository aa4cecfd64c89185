"""Passes of a model in training mode that leave its buffers as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """Give a model copies of its buffers within the block: a forward pass updates some, such as running statistics."""
    owners = [(part, name, value) for part in model.modules() for name, value in part._buffers.items()]
    copies = {id(value): value.clone() for _, _, value in owners if value is not None}
    try:
        for part, name, value in owners:
            if value is not None:
                part._buffers[name] = copies[id(value)]
        yield
    finally:
        for part, name, value in owners:
            part._buffers[name] = value

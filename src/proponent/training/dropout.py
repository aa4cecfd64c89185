"""Dropout with masks drawn beforehand, one generator per model, so that a model does not depend on its company.

``torch.func.vmap`` draws either the same random numbers for all models or numbers that depend on how many there are.
Here a model runs with torch's dropout functions replaced (:func:`proponent.torch_compat.dropout_from`), once to record
which masks it needs and then with masks from a list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import BitGenerator
from torch import Tensor

from proponent.torch_compat import dropout_from


@dataclass(frozen=True)
class Draw:
    """A mask that a forward pass needs: entries are 1 / (1 - p) with probability 1 - p, and 0 otherwise."""

    shape: tuple[int, ...]
    p: float
    dtype: torch.dtype


@contextmanager
def recorded_draws() -> Iterator[list[Draw]]:
    """Drop nothing within the block, and list the masks that models would have needed, in order."""
    draws: list[Draw] = []

    def note(shape: tuple[int, ...], p: float, like: Tensor) -> Tensor:
        draws.append(Draw(shape, p, like.dtype))
        return like.new_ones(shape)

    with dropout_from(note):
        yield draws


@contextmanager
def given_masks(masks: Sequence[Tensor]) -> Iterator[None]:
    """Let models drop by ``masks``, one after the other, within the block.

    Raises:
        RuntimeError: a model needs another number of masks, or other shapes.
    """
    left = iter(masks)

    def take(shape: tuple[int, ...], p: float, like: Tensor) -> Tensor:
        mask = next(left, None)
        if mask is None or mask.shape != shape:
            raise RuntimeError("the model's dropout changes from one batch to the next")
        return mask

    with dropout_from(take):
        yield


def draw_masks(draws: Sequence[Draw], generators: Sequence[BitGenerator]) -> list[Tensor]:
    """Return the masks of a batch for several models, (models, …) each; every model has a generator of its own.

    An entry is kept where 32 random bits are a number below (1 - p) 2^32: NumPy's generators make them in a third of the
    time of torch's ``bernoulli_`` on a CPU, which took an eighth of the training of BERT-mini.
    """
    masks = []
    for draw in draws:
        mask = torch.ones((len(generators), *draw.shape), dtype=draw.dtype)
        if draw.p > 0:
            for row, generator in zip(mask, generators, strict=True):
                bits = generator.random_raw(-(-row.numel() // 2)).view(np.int32)[: row.numel()]
                kept = torch.from_numpy(bits) < min(round((1 - draw.p) * 2**32), 2**32 - 1) - 2**31
                row.copy_(kept.view(row.shape))
        masks.append(mask.div_(1 - draw.p) if 0 < draw.p < 1 else mask)
    return masks

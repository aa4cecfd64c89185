"""Dropout with masks drawn beforehand, one generator a model, so that models do not depend on their company.

``torch.func.vmap`` draws either the same random numbers for all models or some that depend on their number.
Here the functions of :mod:`torch.nn.functional` that drop something are replaced, while a model runs, by ones
that take the next of a list of masks: ``nn.Dropout``, ``nn.MultiheadAttention`` and transformer layers call
them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Draw:
    """One mask that a forward pass needs: entries are 1 / (1 - p) with probability 1 - p, and 0 otherwise."""

    shape: tuple[int, ...]
    p: float
    dtype: torch.dtype


@contextmanager
def recorded_draws() -> Iterator[list[Draw]]:
    """Within the block, models drop nothing, and which masks they would have needed is listed in order."""
    draws: list[Draw] = []

    def note(shape: tuple[int, ...], p: float, like: Tensor) -> Tensor:
        draws.append(Draw(shape, p, like.dtype))
        return like.new_ones(shape)

    with _replaced(note):
        yield draws


@contextmanager
def given_masks(masks: Sequence[Tensor]) -> Iterator[None]:
    """Within the block, models drop by ``masks``, one after the other.

    Raises:
        RuntimeError: a model needs another number of masks, or other shapes.
    """
    left = iter(masks)

    def take(shape: tuple[int, ...], p: float, like: Tensor) -> Tensor:
        mask = next(left, None)
        if mask is None or mask.shape != shape:
            raise RuntimeError("the model's dropout changes from one batch to the next")
        return mask

    with _replaced(take):
        yield


def draw_masks(draws: Sequence[Draw], generators: Sequence[Generator]) -> list[Tensor]:
    """Return the masks of a batch for several models, (models, …) each, from a generator each."""
    masks = []
    for draw in draws:
        mask = torch.empty((len(generators), *draw.shape), dtype=draw.dtype)
        for row, generator in zip(mask, generators, strict=True):
            row.bernoulli_(1 - draw.p, generator=generator)
        masks.append(mask.div_(1 - draw.p) if draw.p < 1 else mask)
    return masks


_Source = Callable[[tuple[int, ...], float, Tensor], Tensor]


@contextmanager
def _replaced(source: _Source) -> Iterator[None]:
    """Replace torch's dropout functions by ones that take their masks from ``source``."""

    def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        return _drop(input, tuple(input.shape), p, training, inplace)

    def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        return _drop(input, _channels(input, batched=input.ndim > 2), p, training, inplace)

    def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        return _drop(input, _channels(input, batched=True), p, training, inplace)

    def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        return _drop(input, _channels(input, batched=input.ndim > 4), p, training, inplace)

    def _drop(value: Tensor, shape: tuple[int, ...], p: float, training: bool, inplace: bool) -> Tensor:
        if not training or p == 0:
            return value
        mask = source(shape, p, value)
        return value.mul_(mask) if inplace else value * mask

    plain_attention = F.scaled_dot_product_attention

    def attention(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if dropout_p == 0:
            options: dict[str, Any] = {"is_causal": is_causal, "scale": scale, "enable_gqa": enable_gqa}
            return plain_attention(query, key, value, attn_mask, 0.0, **options)
        weights = _attention_weights(query, key, attn_mask, is_causal, scale, enable_gqa)
        if enable_gqa:
            value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
        return (weights * source(tuple(weights.shape), dropout_p, weights)) @ value

    replacements: dict[str, Callable[..., Tensor]] = {
        "dropout": dropout,
        "dropout1d": dropout1d,
        "dropout2d": dropout2d,
        "dropout3d": dropout3d,
        "scaled_dot_product_attention": attention,
    }
    originals = {name: getattr(F, name) for name in replacements}
    try:
        for name, function in replacements.items():
            setattr(F, name, function)
        yield
    finally:
        for name, function in originals.items():
            setattr(F, name, function)


def _channels(value: Tensor, batched: bool) -> tuple[int, ...]:
    """Return the shape of a mask that drops whole channels."""
    leading = 2 if batched else 1
    return tuple(value.shape[:leading]) + (1,) * (value.ndim - leading)


def _attention_weights(
    query: Tensor,
    key: Tensor,
    attn_mask: Tensor | None,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool,
) -> Tensor:
    """Return softmax(query key^T scale + mask), (…, L, S), as ``scaled_dot_product_attention`` documents."""
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    logits = query @ key.mT * (scale if scale is not None else 1 / math.sqrt(query.shape[-1]))
    if is_causal:
        attn_mask = torch.ones(logits.shape[-2:], dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None:
        keep = attn_mask.dtype == torch.bool
        logits = logits.masked_fill(~attn_mask, -math.inf) if keep else logits + attn_mask
    return logits.softmax(-1)

"""Projected gradients in the eigenbasis of their mean outer product (the empirical Fisher matrix), layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from proponent.memory_budget import MIB
from proponent.methods.shared.needs import GradientBlock
from proponent.methods.shared.problem_size import ProblemSize
from proponent.methods.shared.resolution import (
    SATURATED,
    SMALLEST_SQUARE,
    DampingUnit,
    check_finite,
    rounding,
    vanished,
)


@dataclass(frozen=True)
class FisherLayer:
    """One layer's gradients, rotated into the eigenbasis of R, the mean outer product of the gradients of the losses."""

    values: Tensor
    """Eigenvalues of R, not negative, (k,)."""
    train: Tensor
    """Rotated gradients of the target for the training examples, (n_train, k)."""
    query: Tensor
    """Rotated gradients of the target for the queries, (n_query, k)."""

    def inverse(self, damping: float) -> Tensor:
        """Return ``1 / (eigenvalues + damping * their mean)``, (k,), and 0 for a layer without gradients.

        Raises:
            UserError: R is zero or singular up to rounding.
        """
        largest = self.values.max().item()
        if largest <= SMALLEST_SQUARE:
            if self.train.any():
                raise vanished("the gradient of every training loss")
            return torch.zeros_like(self.values)
        mean = self.values.mean()
        least = rounding(self.values) * largest
        damped = self.values + damping * mean
        if damped.min() <= least:
            raise DampingUnit(mean.item()).too_small(damping * mean.item(), 2 * least)
        return 1 / damped


def fisher_layers(
    train: Iterable[GradientBlock],
    query: Iterable[GradientBlock],
    loss_weight: Tensor,
    mixing: float = 0.0,
) -> list[FisherLayer]:
    """Rotate the projected gradients of each layer.

    Args:
        train: gradients of the target for the training examples, one block per layer.
        query: gradients of the target for the queries, one block per layer.
        loss_weight: factors (n_train,) that turn the former into gradients of the losses, up to their sign.
        mixing: share in R of the queries' own mean outer product (of gradients of the target).

    Raises:
        UserError: all losses are saturated, or R overflows.
    """
    if loss_weight.max() < SATURATED:
        raise vanished("the gradient of every training loss")
    layers = []
    for train_block, query_block in zip(train, query, strict=True):
        rows, queries = train_block.dense(), query_block.dense()
        losses = loss_weight[:, None] * rows
        outer = (1 - mixing) * (losses.T @ losses) / len(losses)
        if mixing:
            outer += mixing * (queries.T @ queries) / len(queries)
        check_finite(outer)
        # LAPACK's decomposition in float32 fails on some matrices with many zeros, as those of dead units are
        values, vectors = (found.to(rows.dtype) for found in torch.linalg.eigh(outer.double()))
        layers.append(FisherLayer(values.clamp_min(0), rows @ vectors, queries @ vectors))
    return layers


def memory_of_layers(size: ProblemSize, widths: Sequence[int]) -> float:
    """Return the memory of layers projected to ``widths`` dimensions, in MiB: before and after they are rotated."""
    projected = 2 * sum(widths) * (size.n_train + size.n_query) + 2 * max(widths, default=0) * size.n_train
    eigenvectors = 6 * 8 * max(widths, default=0) ** 2 / MIB  # in double precision
    return size.numbers(projected) + eigenvectors + size.temporaries() + size.scores(len(widths) + 3)


def influence(layers: list[FisherLayer], damping: float) -> Tensor:
    """Return ``sum_l g_q^T (R_l + damping * mean eigenvalue)^-1 g_i``, (n_query, n_train)."""
    return torch.stack([(layer.query * layer.inverse(damping)) @ layer.train.T for layer in layers]).sum(0)


def squared_lengths(layers: list[FisherLayer], damping: float, side: str) -> Tensor:
    """Return ``sum_l g^T (R_l + ...)^-1 g`` for the training examples or the queries, (n,).

    Args:
        layers: rotated gradients.
        damping: in units of the mean eigenvalue of each layer.
        side: ``train`` or ``query``.
    """
    return torch.stack([getattr(layer, side).square() @ layer.inverse(damping) for layer in layers]).sum(0)

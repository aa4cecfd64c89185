"""Projected gradients in the eigenbasis of their mean outer product (the empirical Fisher matrix), layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import torch
from torch import Tensor

from proponent.memory_budget import MIB
from proponent.methods.shared.needs import Curvature, GradientBlock, Workspace
from proponent.methods.shared.problem_size import ProblemSize
from proponent.methods.shared.resolution import (
    SATURATED,
    SMALLEST_SQUARE,
    DampingUnit,
    check_finite,
    rounding,
    vanished,
)

Projection = Callable[[GradientBlock], Iterable[GradientBlock]]
"""Function from gradients to their projections, one block per layer."""


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


@dataclass(frozen=True)
class FisherBasis:
    """Eigenbasis of R of one layer, with the rotated gradients of the training examples."""

    values: Tensor
    """Eigenvalues of R, not negative, (k,)."""
    vectors: Tensor
    """Eigenvectors of R, (k, k)."""
    train: Tensor
    """Rotated gradients of the target for the training examples, (n_train, k)."""

    def rotate(self, query: GradientBlock) -> FisherLayer:
        """Return the layer with these queries."""
        return FisherLayer(self.values, self.train, query.dense() @ self.vectors)


def kept_layers(
    model: Curvature,
    workspace: Workspace,
    key: Hashable,
    make_projection: Callable[[], Projection],
    mixing: float = 0.0,
) -> list[FisherLayer]:
    """Return the rotated layers; with ``mixing`` 0, the side of the training examples is kept for later queries.

    Args:
        model: one member at one checkpoint.
        workspace: keeps what was computed, from damping to damping and for other queries.
        key: hyper-parameters that the projected gradients and R depend on.
        make_projection: function that returns the projection of gradients to one block per layer.
        mixing: share in R of the queries' own mean outer product (of gradients of the target).

    Raises:
        UserError: all losses are saturated, or R overflows.
    """

    def bases() -> tuple[Projection, list[FisherBasis]]:
        project = make_projection()
        query = project(model.query) if mixing else ()
        return project, fisher_bases(project(model.train), model.loss_weight, query, mixing)

    def rotated(project: Projection, found: Sequence[FisherBasis]) -> list[FisherLayer]:
        return [basis.rotate(block) for basis, block in zip(found, project(model.query), strict=True)]

    if mixing:
        return workspace.keep(model.query, key, lambda: rotated(*bases()))
    return workspace.keep(model.query, key, lambda: rotated(*workspace.keep(model.train, key, bases)))


def fisher_bases(
    train: Iterable[GradientBlock],
    loss_weight: Tensor,
    query: Iterable[GradientBlock] = (),
    mixing: float = 0.0,
) -> list[FisherBasis]:
    """Return the eigenbasis of each layer.

    Args:
        train: gradients of the target for the training examples, one block per layer.
        loss_weight: factors (n_train,) that turn the former into gradients of the losses, up to their sign.
        query: gradients of the target for the queries, one block per layer; empty with ``mixing`` 0.
        mixing: share in R of the queries' own mean outer product (of gradients of the target).

    Raises:
        UserError: all losses are saturated, or R overflows.
    """
    if loss_weight.max() < SATURATED:
        raise vanished("the gradient of every training loss")
    found = []
    for block, own in zip_longest(train, query):
        rows = block.dense()
        losses = loss_weight[:, None] * rows
        outer = (1 - mixing) * (losses.T @ losses) / len(losses)
        if mixing:
            queries = own.dense()
            outer += mixing * (queries.T @ queries) / len(queries)
        check_finite(outer)
        # LAPACK's decomposition in float32 fails on some matrices with many zeros, as those of dead units are
        values, vectors = (part.to(rows.dtype) for part in torch.linalg.eigh(outer.double()))
        found.append(FisherBasis(values.clamp_min(0), vectors, rows @ vectors))
    return found


def memory_of_layers(size: ProblemSize, widths: Sequence[int]) -> float:
    """Return the memory of layers projected to ``widths`` dimensions, in MiB: before and after they are rotated."""
    projected = 2 * sum(widths) * (size.n_train + size.n_query) + 2 * max(widths, default=0) * size.n_train
    projected += sum(width**2 for width in widths)  # the eigenvectors, which are kept for other queries
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

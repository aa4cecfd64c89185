"""Needs of methods that compare per-example gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from torch import Tensor


class GradientBlock(Protocol):
    """Per-example gradients of n examples; their storage (factored, dense or projected) is hidden behind linear algebra."""

    @property
    def n_parameters(self) -> int:
        """Number of columns."""
        ...

    def __len__(self) -> int:
        """Return the number of examples."""
        ...

    def slice(self, rows: slice) -> GradientBlock:
        """Return the gradients of a range of the examples, sharing memory."""
        ...

    def inner(self, other: GradientBlock) -> Tensor:
        """Return all inner products with ``other``, (len(self), len(other))."""
        ...

    def inner_dense(self, vectors: Tensor) -> Tensor:
        """Return the inner products with each row of ``vectors``, (k, n_parameters) -> (len(self), k).

        The rows have the layout of :meth:`dense`, but the dense matrix of this block is not formed.
        """
        ...

    def norms_squared(self) -> Tensor:
        """Return the squared norms, (len(self),)."""
        ...

    def last_layer(self) -> GradientBlock:
        """Return the same gradients restricted to the parameters of the last linear layer."""
        ...

    def by_layer(self) -> Sequence[GradientBlock]:
        """Return the same gradients as one block per weight (with its bias) or other parameter.

        A projection mixes the layers, so projected gradients are returned as one block.
        """
        ...

    def project_sides(
        self, side: int, kind: str, seed: int, scale: Tensor | None = None
    ) -> Sequence[GradientBlock]:
        """Return the gradients of each layer, projected from both sides to at most ``side`` x ``side`` dimensions.

        Defined for factored gradients, such as those of a :class:`Network`.

        Args:
            side: largest number of dimensions per side of a layer; narrower sides are not projected.
            kind: ``gaussian``, or ``mask`` for random coordinates.
            seed: seed of the projection.
            scale: factors (n_parameters,) by which the entries are multiplied first.
        """
        ...

    def embeddings(self) -> GradientBlock:
        """Return the same gradients restricted to the tables of token embeddings."""
        ...

    def mask(self, count: int, seed: int) -> GradientBlock:
        """Return ``count`` random coordinates, scaled so that inner products are unbiased."""
        ...

    def mean_squares(self, weights: Tensor) -> Tensor:
        """Return the mean over examples of ``(weights_i g_i)^2``, (n_parameters,)."""
        ...

    def project(self, dim: int, kind: str, seed: int) -> GradientBlock:
        """Return a seeded random projection to ``dim`` dimensions; kinds: rademacher, gaussian, sparse."""
        ...

    def dense(self) -> Tensor:
        """Return the gradients as a matrix, (len(self), n_parameters)."""
        ...


class TargetPair(Protocol):
    """Gradients of the target for training examples and queries, without a place in a training."""

    @property
    def train(self) -> GradientBlock:
        """Gradients of the training examples."""
        ...

    @property
    def query(self) -> GradientBlock:
        """Gradients of the queries."""
        ...

    @property
    def loss_weight(self) -> Tensor:
        """(n_train,): 1 - p for classification, 1 otherwise, times the weight of the example."""
        ...

    @property
    def loss_curvature(self) -> Tensor:
        """(n_train,): second derivatives of the losses, p (1 - p) for classification, 0 otherwise, times the weight."""
        ...

    def gram(self) -> Tensor:
        """Return the inner products of the training gradients, (n_train, n_train)."""
        ...


class GradientPair(Protocol):
    """Gradients of the target for training examples and queries, at one checkpoint."""

    train: GradientBlock
    query: GradientBlock
    loss_weight: Tensor
    """(n_train,): 1 - p for classification, 1 otherwise, times the weight of the example."""
    loss_curvature: Tensor
    """(n_train,): second derivatives of the losses, p (1 - p) for classification, 0 otherwise, times the weight."""
    learning_rate: float
    """Learning rate in force at the checkpoint."""
    duration: float
    """Sum of the learning rates up to the checkpoint, divided by 1 - momentum: the length of training."""

    def gram(self) -> Tensor:
        """Return the inner products of the training gradients, (n_train, n_train); kept with the pair."""
        ...


class Gradients(Protocol):
    """Gradients of one member along its training."""

    member: int
    """Index of the member; seeds the draws, such as projections, that must differ between members."""
    durations: list[float]
    """Length of training up to each saved checkpoint, the final one last; defined in :class:`GradientPair`."""
    fractions: list[float]
    """Fraction of all optimiser steps up to each of these checkpoints."""

    def nearest(self, checkpoint: float) -> int:
        """Return the index of the saved checkpoint that a fraction of training stands for: the nearest one in ratio."""
        ...

    def at(self, checkpoint: float) -> GradientPair:
        """Return the pair at a checkpoint. Only the most recent pair is kept, so ask for checkpoints in order."""
        ...

    def along(self) -> Iterator[GradientPair]:
        """Yield the pairs of all checkpoints, the final one last."""
        ...

"""Needs of methods that use the curvature of the training loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from torch import Tensor

from proponent.memory_budget import MemoryBudget
from proponent.methods.shared.needs.gradient_needs import GradientBlock, TargetPair


class RotatedGradients(Protocol):
    """Gradients of n examples in the coordinates of a Kronecker eigenbasis."""

    def __len__(self) -> int:
        """Return the number of examples."""
        ...

    def dense(self) -> Tensor:
        """Return the coordinates, (n, number of coordinates)."""
        ...

    def inner(self, others: RotatedGradients, diagonal: Tensor) -> Tensor:
        """Return ``sum_p c_p d_p o_p`` with coordinates c, those o of others, and d (coordinates,), (n, len(others))."""
        ...

    def squares_inner(self, vectors: Tensor) -> Tensor:
        """Return ``sum_p c_p^2 v_p`` of the coordinates c for each row v of ``vectors``, (n, k)."""
        ...


class KroneckerBasis(Protocol):
    """Eigenbasis of the Kronecker-factored Gauss-Newton matrix, one block per layer (K-FAC, EK-FAC)."""

    eigenvalues: Tensor
    """(number of coordinates,) exact diagonal of the Gauss-Newton matrix of the mean loss in the basis (EK-FAC)."""
    factored: Tensor
    """(number of coordinates,) products of the eigenvalues of the two factors (K-FAC)."""
    spans: tuple[slice, ...]
    """Coordinates of each layer."""
    approximated: tuple[str, ...]
    """Layers with a side that was too wide to diagonalise and keeps its own axes."""

    def rotate(self, block: GradientBlock) -> RotatedGradients:
        """Return the gradients of a block (of :class:`Curvature`) in the basis."""
        ...

    def to_eigenbasis(self, vectors: Tensor) -> Tensor:
        """Return the coordinates (k, n) of vectors (k, n_parameters) in the layout of :meth:`GradientBlock.dense`."""
        ...

    def from_eigenbasis(self, coordinates: Tensor) -> Tensor:
        """Return the vectors with these coordinates: the inverse of :meth:`to_eigenbasis`."""
        ...

    def layer_means(self, vector: Tensor) -> Tensor:
        """Return, per coordinate, the mean of ``vector`` (n_parameters,) over the layer of the coordinate."""
        ...


class Curvature(Protocol):
    """One member at one checkpoint, trained on J = mean loss + weight_decay / 2 ||theta||^2."""

    n_train: int
    n_parameters: int
    n_outputs: int
    weight_decay: float
    duration: float
    """Sum of the learning rates up to the checkpoint, divided by 1 - momentum: the length of training."""
    train: GradientBlock
    """Gradients of the target f for the training examples."""
    query: GradientBlock
    """Gradients of the target f for the queries."""
    loss_weight: Tensor
    """(n_train,): 1 - p for classification, 1 otherwise, times the weight of the example."""
    shapes: Sequence[tuple[int, ...]]
    """Shapes of the parameters."""
    budget: MemoryBudget
    """Memory of the job, in which these gradients are held already."""
    pass_mib: float
    """Memory of forward and backward passes, in MiB."""
    root_row: int
    """Numbers in a row of :meth:`ggn_root`, stored as factors."""
    kronecker_mib: float
    """Memory of the factors and eigenvectors of :meth:`kronecker`, in MiB."""

    def ggn(self) -> Tensor:
        """Return the Gauss-Newton matrix of the mean loss without weight decay, (n_parameters, n_parameters)."""
        ...

    def hessian(self) -> Tensor:
        """Return the Hessian of the mean loss without weight decay, of the same shape; for small models."""
        ...

    def ggn_root(self) -> GradientBlock:
        """Return n_train * n_outputs rows B with GGN = B^T B / n_train, as a gradient block."""
        ...

    def ggn_product(self, vectors: Tensor, examples: Tensor | None = None, *, count: int = 0) -> Tensor:
        """Return GGN @ v for each row v of ``vectors``, (k, n_parameters).

        Args:
            vectors: (k, n_parameters).
            examples: indices of the examples whose mean loss is meant; None for all.
            count: number of vectors that will be multiplied in all, so that the matrix is formed where that is cheaper; 0
                if it is not.
        """
        ...

    def hessian_product(self, vectors: Tensor, examples: Tensor | None = None) -> Tensor:
        """Return Hessian @ v for each row v of ``vectors``, (k, n_parameters); arguments as in :meth:`ggn_product`."""
        ...

    def dropped(self, drop: float, seed: int) -> TargetPair:
        """Return the gradients of the network without a share ``drop`` of its hidden units, the same for all examples."""
        ...

    def adapted(self, rank: int, epochs: int, learning_rate: float, seed: int) -> TargetPair:
        """Return the gradients with respect to low-rank adapters of the linear layers, trained for ``epochs`` first."""
        ...

    def kronecker(self, samples: int, seed: int) -> KroneckerBasis:
        """Return the Kronecker eigenbasis; ``samples`` label draws per example, 0 for the exact expectation."""
        ...


class Stage(Protocol):
    """A part of training, on examples of its own."""

    examples: slice
    """The stage's examples in the training set."""
    checkpoint: int
    """Index of the checkpoint that was saved at the end of the stage."""
    network: Network
    """The member with these examples alone and all checkpoints; means over examples are means over the stage's."""


class Network(Protocol):
    """The curvature of one member along its training."""

    member: int
    """Index of the member; seeds the draws, such as projections, that must differ between members."""
    durations: list[float]
    """Length of training up to each saved checkpoint, the final one last; defined in :class:`Curvature`."""
    fractions: list[float]
    """Fraction of all optimiser steps up to each of these checkpoints."""
    stages: Sequence[Stage]
    """Stages in order; most trainings are one stage with all examples."""

    def nearest(self, checkpoint: float) -> int:
        """Return the index of the saved checkpoint that a fraction of training stands for: the nearest one in ratio."""
        ...

    def at(self, checkpoint: float) -> Curvature:
        """Return the curvature at a checkpoint; only the most recent one is kept."""
        ...

    def checkpoint(self, index: int) -> Curvature:
        """Return the curvature at a saved checkpoint, by its index among the durations."""
        ...

    def along(self) -> Iterator[Curvature]:
        """Yield the curvature at all checkpoints, the final one last."""
        ...

    def kronecker(
        self, weights: list[float], samples: int, seed: int, scale: Tensor | None = None
    ) -> KroneckerBasis:
        """Return the basis of factors and eigenvalues averaged over the checkpoints.

        Args:
            weights: one weight per saved checkpoint.
            samples: label draws per example, 0 for the exact expectation.
            seed: seed of the draws.
            scale: factors (n_parameters,) by which the gradients are multiplied first.
        """
        ...

    def blend(self, weights: list[float]) -> Curvature:
        """Return the curvature at the weighted mean of the checkpoints' parameters, one weight per checkpoint."""
        ...

"""TRAK (Park et al. 2023, "TRAK: attributing model behavior at scale"), exact or projected.

The model is linearised in its parameters and treated as logistic regression on phi_i = grad f_i, f the
margin. One Newton step gives the effect of example i on query q as

    kernel[q, i] = phi_q^T (Phi^T R Phi + lambda I)^-1 phi_i,      scores = mean(kernel) * mean(w)

with ``w_i = 1 - p_i`` the loss weight. Kernel and weights are averaged over the members *separately* (their
product is taken last), so the function returns both. The paper's R is the identity; ``weighting="full"`` is
the Newton step's own R = p (1 - p), which for binary logistic regression makes one member's score the
influence function, and ``"sqrt"`` its square root.

Exact: nothing is projected, and by the push-through identity
``R^1/2 Phi (Phi^T R Phi + lambda)^-1 = (R^1/2 K R^1/2 + lambda)^-1 R^1/2 Phi`` only the Gram matrix
``K = Phi Phi^T`` is needed: n^3 / 3 for one Cholesky factorisation, n^2 numbers of memory (n = 4500: 81 MB,
1 s). Projected (``projection_dim`` k > 0): phi is a seeded random projection, another for each member as in
the paper, and the k x k side is factored where k < n.

lambda is relative to the mean diagonal of the (weighted) Gram matrix. The checkpoint matters more than the
number of members: on networks that end up fitting their training set, an early one is better, as w vanishes
later.
Shapes: kernel (n_query, n_train), weights (n_train,). Fails for a single member that has memorised its data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from proponent.methods.shared.needs import GradientBlock, Gradients, TargetPair
from proponent.methods.shared.solvers import DampedSolver, keep
from proponent.seeds import derive_seed

_SMALLEST_ROW_WEIGHT = 1e-6
"""Least entry of R: an example below no longer bends the kernel, and its own column would be 0 / 0."""


def attribute(
    gradients: Gradients,
    *,
    damping: float = 1.0,
    growing: bool = False,
    checkpoint: float = 1.0,
    weighting: Literal["none", "sqrt", "full"] = "none",
    projection_dim: int = 0,
    projection: Literal["rademacher", "gaussian", "sparse"] = "rademacher",
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Return one member's kernel (n_query, n_train) and weights (n_train,); the score is their product.

    Args:
        gradients: of one member.
        damping: lambda over the mean diagonal of the Gram matrix.
        growing: multiply it by the fraction of training at the checkpoint: of several, the early ones want less.
        checkpoint: fraction of training.
        weighting: R above.
        projection_dim: dimensions of the random projection; 0 is exact.
        projection: distribution of the projection's entries.
        seed: of the projection, mixed with the number of the member.

    Raises:
        UserError: the damping is too small for the kernel to be inverted.
    """
    pair = gradients.at(checkpoint)
    kernel = kernel_of(pair, gradients.member, weighting, projection_dim, projection, seed)
    return kernel.cross(damping * checkpoint if growing else damping), pair.loss_weight


def self_influence(
    gradients: Gradients,
    *,
    damping: float = 0.01,
    growing: bool = False,
    checkpoint: float = 1.0,
    weighting: Literal["none", "sqrt", "full"] = "none",
    projection_dim: int = 0,
    projection: Literal["rademacher", "gaussian", "sparse"] = "rademacher",
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the factors (n_train,) of each example's score on its own ``-loss``; arguments as above.

    The damping is small unless asked otherwise: what an example is alone in shows in its leverage, which damping hides.

    The gradient of -loss is w_i phi_i, so the weights come in twice; each factor is averaged over members
    separately.
    """
    pair = gradients.at(checkpoint)
    kernel = kernel_of(pair, gradients.member, weighting, projection_dim, projection, seed)
    own = kernel.diagonal(damping * checkpoint if growing else damping)
    return own, pair.loss_weight, pair.loss_weight


@dataclass
class _ExampleSpace:
    """The kernel from Gram matrices; exact gradients, or more projected dimensions than examples."""

    solver: DampedSolver
    """Of R^1/2 K R^1/2."""
    root: Tensor
    """(n_train,) diagonal of R^1/2."""
    inner: Tensor
    """(n_train, n_query) training by query gradients."""

    def cross(self, damping: float) -> Tensor:
        solved = self.solver.solve(self.root[:, None] * self.inner, damping * self._mean_diagonal())
        return (solved / self.root[:, None]).T

    def diagonal(self, damping: float) -> Tensor:
        return self.solver.hat(damping * self._mean_diagonal()) / self.root**2

    def _mean_diagonal(self) -> float:
        return self.solver.matrix.diagonal().mean().item()


@dataclass
class _ProjectedSpace:
    """The kernel from projected gradients of fewer dimensions than there are examples."""

    solver: DampedSolver
    """Of Phi^T R Phi."""
    train: Tensor
    """(n_train, k)"""
    query: Tensor
    """(n_query, k)"""

    def cross(self, damping: float) -> Tensor:
        return (self.train @ self.solver.solve(self.query.T, self._absolute(damping))).T

    def diagonal(self, damping: float) -> Tensor:
        return self.solver.quadratic(self.train, self._absolute(damping))

    def _absolute(self, damping: float) -> float:
        # the trace is that of the Gram matrix, which has as many diagonal entries as there are examples
        return damping * self.solver.matrix.trace().item() / len(self.train)


def kernel_of(
    pair: TargetPair, member: int, weighting: str, dim: int, projection: str, seed: int
) -> _ExampleSpace | _ProjectedSpace:
    """Return the kernel of one network, which answers for any damping; arguments as in :func:`attribute`."""
    stream = derive_seed(seed, "trak", member)

    def make() -> _ExampleSpace | _ProjectedSpace:
        rows = _row_weights(pair, weighting)
        train: GradientBlock = pair.train
        query: GradientBlock = pair.query
        if dim:
            train, query = train.project(dim, projection, stream), query.project(dim, projection, stream)
            if dim < len(train):
                phi = train.dense()
                return _ProjectedSpace(DampedSolver(phi.T @ (rows[:, None] * phi)), phi, query.dense())
        gram = train.inner(train) if dim else pair.gram()
        root = rows.sqrt()
        if weighting != "none":
            gram = gram * root * root[:, None]
        return _ExampleSpace(DampedSolver(gram), root, train.inner(query))

    return keep(pair, (weighting, dim, projection, stream), make)


def _row_weights(pair: TargetPair, weighting: str) -> Tensor:
    wrong = pair.loss_weight
    if weighting == "none":
        return wrong.new_ones(len(wrong))
    weights = (wrong * (1 - wrong)).clamp_min(_SMALLEST_ROW_WEIGHT)
    return weights.sqrt() if weighting == "sqrt" else weights

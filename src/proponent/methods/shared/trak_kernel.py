"""TRAK's kernel ``phi_q^T (Phi^T R Phi + lambda I)^-1 phi_i`` of one network, for any number of dampings lambda.

(Park et al. 2023, "TRAK: attributing model behavior at scale".) The rows of Phi are the gradients phi_i of the target. By
the push-through identity ``R^1/2 Phi (Phi^T R Phi + lambda)^-1 = (R^1/2 K R^1/2 + lambda)^-1 R^1/2 Phi``, only the Gram
matrix ``K = Phi Phi^T`` is needed for exact gradients: n^3 / 3 operations for one Cholesky factorisation, and n^2 numbers
of memory (n = 4500: 81 MB, 1 s). Where gradients are projected to k < n dimensions, the k x k side is factored.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from proponent.methods.shared.needs import GradientBlock, Gradients, TargetPair, Workspace
from proponent.methods.shared.problem_size import ProblemSize
from proponent.methods.shared.resolution import SMALLEST_SQUARE, DampingUnit, overflow, vanished
from proponent.methods.shared.solvers.damped_solver import DampedSolver
from proponent.seeds import derive_seed

_SMALLEST_ROW_WEIGHT = 1e-6
"""Lower bound of the entries of R: smaller weights hardly change the kernel, and a zero would divide its column by zero."""


@dataclass
class ExampleSpace:
    """The kernel from Gram matrices: exact gradients, or at least as many projected dimensions as examples."""

    solver: DampedSolver
    """Solver of R^1/2 K R^1/2 + lambda."""
    root: Tensor
    """Diagonal of R^1/2, (n_train,)."""
    projected: GradientBlock | None
    """Projected training gradients; None without a projection, since the space must not keep the gradients alive."""

    def coordinates(self, train: GradientBlock, query: GradientBlock) -> Tensor:
        """Return the inner products of training gradients and (projected) query gradients, (n_train, n_query)."""
        kept = train if self.projected is None else self.projected
        return kept.inner(query)

    def cross(self, inner: Tensor, damping: float) -> Tensor:
        """Return the kernel of queries, given by their :meth:`coordinates`, and training examples, (n_query, n_train)."""
        solved = self.solver.solve(self.root[:, None] * inner, self.solver.unit.absolute(damping))
        return (solved / self.root[:, None]).T

    def diagonal(self, damping: float) -> Tensor:
        """Return the kernel of each training example with itself, (n_train,)."""
        return self.solver.hat(self.solver.unit.absolute(damping)) / self.root**2


@dataclass
class ProjectedSpace:
    """The kernel from gradients that are projected to fewer dimensions k than there are examples."""

    solver: DampedSolver
    """Solver of Phi^T R Phi + lambda."""
    train: Tensor
    """Projected training gradients, (n_train, k)."""

    def coordinates(self, _train: GradientBlock, query: GradientBlock) -> Tensor:
        """Return the projected query gradients, written out, (n_query, k)."""
        return query.dense()

    def cross(self, query: Tensor, damping: float) -> Tensor:
        """Return the kernel of queries, given by their :meth:`coordinates`, and training examples, (n_query, n_train)."""
        return (self.train @ self.solver.solve(query.T, self.solver.unit.absolute(damping))).T

    def diagonal(self, damping: float) -> Tensor:
        """Return the kernel of each training example with itself, (n_train,)."""
        return self.solver.quadratic(self.train, self.solver.unit.absolute(damping))


def memory_of_kernel(size: ProblemSize, projection_dim: int = 0) -> float:
    """Return the memory of a kernel in MiB: its matrix, which the gradients keep, weighted, factored, and in two copies."""
    side = min(projection_dim or size.n_train, size.n_train)
    projected = projection_dim * (size.n_train + size.n_query)
    return size.numbers(5 * side**2 + 2 * projected) + size.scores(5)


@dataclass
class Kernel:
    """The kernel of one network, for queries and for each training example with itself."""

    space: ExampleSpace | ProjectedSpace
    """What depends on the training examples alone."""
    query: Callable[[], Tensor]
    """Returns the coordinates of the queries in ``space``."""

    def cross(self, damping: float) -> Tensor:
        """Return the kernel of queries and training examples, (n_query, n_train)."""
        return self.space.cross(self.query(), damping)

    def diagonal(self, damping: float) -> Tensor:
        """Return the kernel of each training example with itself, (n_train,)."""
        return self.space.diagonal(damping)


def trak_kernel(
    pair: TargetPair,
    workspace: Workspace,
    *,
    member: int,
    weighting: str,
    projection_dim: int = 0,
    projection: str = "rademacher",
    seed: int = 0,
) -> Kernel:
    """Return the kernel of one network, whose methods take dampings relative to the mean diagonal of the Gram matrix.

    Args:
        pair: gradients of the network.
        workspace: keeps the kernel from damping to damping.
        member: index of the network's member, mixed into the seed.
        weighting: R: ``none`` is the identity, ``full`` is p (1 - p), ``sqrt`` its square root.
        projection_dim: dimensions of the random projection; 0 for exact gradients.
        projection: distribution of the projection's entries.
        seed: seed of the projection.

    Raises:
        UserError: the gradients of all training examples are 0, or overflow.
    """
    stream = derive_seed(seed, "trak", member)

    def projected(block: GradientBlock) -> GradientBlock:
        return block.project(projection_dim, projection, stream) if projection_dim else block

    def make() -> ExampleSpace | ProjectedSpace:
        rows, train = _row_weights(pair, weighting), projected(pair.train)
        if 0 < projection_dim < len(train):
            phi = train.dense()
            weighted = phi.T @ (rows[:, None] * phi)
            # the trace is that of the Gram matrix, which has as many diagonal entries as there are examples
            unit = _unit(weighted.trace().item() / len(train))
            return ProjectedSpace(DampedSolver(weighted, workspace.dampings, unit), phi)
        gram = train.inner(train) if projection_dim else pair.gram()
        root = rows.sqrt()
        if weighting != "none":
            gram = gram * root * root[:, None]
        unit = _unit(gram.diagonal().mean().item())
        solver = DampedSolver(gram, workspace.dampings, unit)
        return ExampleSpace(solver, root, train if projection_dim else None)

    key = (weighting, projection_dim, projection, stream, workspace.dampings)
    space = workspace.keep(pair.train, key, make)

    def coordinates() -> Tensor:
        return space.coordinates(pair.train, projected(pair.query))

    return Kernel(space, lambda: workspace.keep(pair.query, key, coordinates))


def _unit(mean_diagonal: float) -> DampingUnit:
    if not math.isfinite(mean_diagonal):
        raise overflow()
    if mean_diagonal <= SMALLEST_SQUARE:
        raise vanished("the gradient of every training example")
    return DampingUnit(mean_diagonal)


def fraction_of(gradients: Gradients, checkpoint: float) -> float:
    """Return the fraction of training at the saved checkpoint that ``checkpoint`` stands for."""
    return gradients.fractions[gradients.nearest(checkpoint)]


def _row_weights(pair: TargetPair, weighting: str) -> Tensor:
    curvature = pair.loss_curvature
    if weighting == "none" or not curvature.any():
        return curvature.new_ones(len(curvature))
    weights = curvature.clamp_min(_SMALLEST_ROW_WEIGHT)
    return weights.sqrt() if weighting == "sqrt" else weights

"""Damped symmetric solves for any number of dampings.

``(A + d I) x = b`` has two exact routes, and which is cheaper depends on how many dampings ``d`` share one ``A``. On one
core in float32, seconds:

====== ======================== ================================ =====
n      Cholesky for one damping eigendecomposition for all of them ratio
====== ======================== ================================ =====
1400   0.1                      0.2                               2
4500   0.8                      5.5                               7
7850   2.6                      38                                15
====== ======================== ================================ =====

So one Cholesky factorisation per damping is the rule. An eigendecomposition is made for a grid of dampings that was
announced and is long enough to pay. Final scores are computed without an announced grid, always by Cholesky: their bytes
depend on the hyper-parameters alone, never on which others were tried before.

The factorisations are LAPACK's, through torch.linalg; the choice between them, and keeping them, is done here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.methods.shared.resolution import (
    ABSOLUTE,
    SMALLEST_SQUARE,
    DampingUnit,
    check_finite,
    rounding,
    vanished,
)

_ROWS_PER_DAMPING = 600
"""An eigendecomposition pays from n / 600 dampings on (read off the table)."""
_COLUMNS = 512
"""Right-hand sides solved at a time where only one number of each is kept."""


class DampedSolver:
    """Solves ``(A + d I) X = B`` for one symmetric ``A`` and any number of dampings ``d``.

    Memory: A, and one matrix of its size (its eigenvectors, or the Cholesky factor of the latest damping).

    Args:
        matrix: A, (n, n), symmetric; kept, never changed.
        dampings: the announced grid (:attr:`~proponent.methods.shared.workspace.Workspace.dampings`), in any unit: only
            its length matters.
        unit: unit in which a refusal names dampings.

    Raises:
        UserError: A is not finite.
    """

    def __init__(self, matrix: Tensor, dampings: Sequence[float] = (), unit: DampingUnit = ABSOLUTE) -> None:
        self.matrix, self.unit = matrix, unit
        self._largest = matrix.diagonal().max().item()
        check_finite(matrix.diagonal())
        self._decomposes = len(dampings) > 1 and len(dampings) >= len(matrix) / _ROWS_PER_DAMPING
        self._damping: float | None = None
        self._cholesky: Tensor | None = None
        self._eigen: tuple[Tensor, Tensor] | None = None

    def solve(self, right: Tensor, damping: float) -> Tensor:
        """Return ``(A + damping I)^-1 right``, (n, k).

        Raises:
            UserError: the damped matrix is singular up to rounding.
        """
        if self._decomposes:
            values, vectors = self._eigenpairs(damping)
            return vectors @ ((vectors.T @ right) / (values + damping)[:, None])
        return torch.cholesky_solve(right, self._factor(damping))

    def quadratic(self, rows: Tensor, damping: float) -> Tensor:
        """Return ``x^T (A + damping I)^-1 x`` for each of ``rows``, (k, n) -> (k,)."""
        if self._decomposes:
            values, vectors = self._eigenpairs(damping)
            return torch.cat(
                [(chunk @ vectors).square() @ (1 / (values + damping)) for chunk in rows.split(_COLUMNS)]
            )
        factor = self._factor(damping)  # L with L L^T = A + damping I: half a solve gives |L^-1 x|^2
        halves = [
            torch.linalg.solve_triangular(factor, chunk.T, upper=False) for chunk in rows.split(_COLUMNS)
        ]
        return torch.cat([half.square().sum(0) for half in halves])

    def hat(self, damping: float) -> Tensor:
        """Return the diagonal of ``(A + damping I)^-1 A``, (n,); needs one more matrix of that size meanwhile."""
        if self._decomposes:
            values, vectors = self._eigenpairs(damping)
            return vectors.square() @ (values / (values + damping))
        # not 1 - damping diag((A + damping I)^-1), which loses the digits of small entries
        return torch.cholesky_inverse(self._factor(damping)).mul_(self.matrix).sum(0)

    def refuse_differences(self, damping: float) -> None:
        """Refuse a damping at which ``b^T b - b^T (A + damping I)^-1 A b`` consists of rounding errors.

        Raises:
            UserError: the damping is below the rounding errors of A.
        """
        least = rounding(self.matrix) * self.matrix.norm().item()
        if damping <= least:
            raise self._too_small(damping, 2 * least)

    def _factor(self, damping: float) -> Tensor:
        if self._cholesky is None or self._damping != damping:
            self._cholesky = None  # releases the previous factor before the next is made
            damped = self.matrix.clone()
            damped.diagonal().add_(damping)
            factor, info = torch.linalg.cholesky_ex(damped)
            # a pivot is what the rows before it leave of a diagonal entry: of a dependent row nothing but rounding
            left, whole = factor.diagonal().square(), damped.diagonal()
            if info.item() or not bool((left > rounding(whole) * whole).all()):
                raise self._too_small(damping)
            self._cholesky, self._damping = factor, damping
        return self._cholesky

    def _eigenpairs(self, damping: float) -> tuple[Tensor, Tensor]:
        if self._eigen is None:
            self._eigen = _eigendecomposition(self.matrix)
        values, vectors = self._eigen
        if values[0] + damping <= rounding(values) * values.abs().max():
            raise self._too_small(damping)
        return values, vectors

    def _too_small(self, damping: float, least: float | None = None) -> UserError:
        """Return the error for a damping, which names the smallest one that works whatever the other entries of A."""
        if self._largest <= SMALLEST_SQUARE:
            return vanished("the sum of curvature and damping")
        return self.unit.too_small(damping, least or 4 * rounding(self.matrix) * self.matrix.norm().item())


def _eigendecomposition(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues and eigenvectors, in double precision (twice the time) only where LAPACK fails without."""
    try:
        values, vectors = torch.linalg.eigh(matrix)
    except torch.linalg.LinAlgError:
        values, vectors = (found.to(matrix.dtype) for found in torch.linalg.eigh(matrix.double()))
    return values, vectors

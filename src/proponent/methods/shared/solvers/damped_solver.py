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
    """

    def __init__(self, matrix: Tensor, dampings: Sequence[float] = ()) -> None:
        self.matrix = matrix
        self._decomposes = len(dampings) > 1 and len(dampings) >= len(matrix) / _ROWS_PER_DAMPING
        self._damping: float | None = None
        self._cholesky: Tensor | None = None
        self._eigen: tuple[Tensor, Tensor] | None = None

    def solve(self, right: Tensor, damping: float) -> Tensor:
        """Return ``(A + damping I)^-1 right``, (n, k).

        Raises:
            UserError: the damped matrix is not positive definite.
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

    def _factor(self, damping: float) -> Tensor:
        if self._cholesky is None or self._damping != damping:
            self._cholesky = None  # releases the previous factor before the next is made
            damped = self.matrix.clone()
            damped.diagonal().add_(damping)
            factor, info = torch.linalg.cholesky_ex(damped)
            if info.item():
                raise _indefinite(damping)
            self._cholesky, self._damping = factor, damping
        return self._cholesky

    def _eigenpairs(self, damping: float) -> tuple[Tensor, Tensor]:
        if self._eigen is None:
            self._eigen = _eigendecomposition(self.matrix)
        values, vectors = self._eigen
        rounding = torch.finfo(values.dtype).eps * values.abs().max()
        if values[0] + damping <= rounding:
            raise _indefinite(damping)
        return values, vectors


def _eigendecomposition(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues and eigenvectors, in double precision (twice the time) only where LAPACK fails without."""
    try:
        values, vectors = torch.linalg.eigh(matrix)
    except torch.linalg.LinAlgError:
        values, vectors = (found.to(matrix.dtype) for found in torch.linalg.eigh(matrix.double()))
    return values, vectors


def _indefinite(damping: float) -> UserError:
    return UserError(
        f"the matrix plus a damping of {damping:.3g} (absolute) is not positive definite: raise 'damping'"
    )

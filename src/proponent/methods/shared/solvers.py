"""Damped symmetric solves, factored once for as many dampings as are asked.

``(A + d I) x = b`` has two exact routes, and which is cheaper depends on how many dampings ``d`` share one
``A``. On one core in float32, seconds:

====== ======================== ================================ =====
n      Cholesky for one damping eigendecomposition for all of them ratio
====== ======================== ================================ =====
1400   0.1                      0.2                               2
4500   0.8                      5.5                               7
7850   2.6                      38                                15
====== ======================== ================================ =====

So a factorisation by damping is the rule, and the eigendecomposition serves a grid that its author announces
with :func:`damping_grid` and that is long enough to pay. Outside that context the route is always Cholesky:
the bytes of the final scores depend on the hyper-parameters alone, never on which others were tried before.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from proponent.errors import UserError

T = TypeVar("T")

_ROWS_PER_DAMPING = 600
"""An eigendecomposition pays from n / 600 dampings on (read off the table)."""
_COLUMNS = 512
"""Right-hand sides solved at a time where only one number of each is kept."""

_grid: tuple[float, ...] = ()


@contextmanager
def damping_grid(dampings: Sequence[float]) -> Iterator[None]:
    """Announce that these dampings will be asked of every matrix inside this context."""
    global _grid
    outer, _grid = _grid, tuple(dampings)
    try:
        yield
    finally:
        _grid = outer


def announced(damping: float) -> tuple[float, ...]:
    """Return the grid that a damping is asked as one of: the announced one, or itself alone."""
    return _grid if damping in _grid else (damping,)


class DampedSolver:
    """Solves ``(A + d I) X = B`` for one symmetric ``A`` and any number of dampings ``d``.

    Args:
        matrix: A, (n, n), symmetric; kept, never changed.

    Memory: A, and one factor of its size (its eigenvectors, or the Cholesky factor of the latest damping).
    """

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix
        self._damping: float | None = None
        self._cholesky: Tensor | None = None
        self._eigen: tuple[Tensor, Tensor] | None = None

    def solve(self, right: Tensor, damping: float) -> Tensor:
        """Return ``(A + damping I)^-1 right``, (n, k).

        Raises:
            UserError: the damped matrix is not positive definite.
        """
        if self._grid_pays():
            values, vectors = self._eigenpairs(damping)
            return vectors @ ((vectors.T @ right) / (values + damping)[:, None])
        return torch.cholesky_solve(right, self._factor(damping))

    def quadratic(self, rows: Tensor, damping: float) -> Tensor:
        """Return ``x^T (A + damping I)^-1 x`` for each of ``rows``, (k, n) -> (k,)."""
        if self._grid_pays():
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
        """Return the diagonal of ``(A + damping I)^-1 A``, (n,); on the way, one more matrix of that size."""
        if self._grid_pays():
            values, vectors = self._eigenpairs(damping)
            return vectors.square() @ (values / (values + damping))
        # not 1 - damping diag((A + damping I)^-1), which loses the digits of small entries
        return torch.cholesky_inverse(self._factor(damping)).mul_(self.matrix).sum(0)

    def _grid_pays(self) -> bool:
        return len(_grid) > 1 and len(_grid) >= len(self.matrix) / _ROWS_PER_DAMPING

    def _factor(self, damping: float) -> Tensor:
        if self._cholesky is None or self._damping != damping:
            self._cholesky = self._eigen = None
            damped = self.matrix.clone()
            damped.diagonal().add_(damping)
            factor, info = torch.linalg.cholesky_ex(damped)
            if info.item():
                raise _indefinite(damping)
            self._cholesky, self._damping = factor, damping
        return self._cholesky

    def _eigenpairs(self, damping: float) -> tuple[Tensor, Tensor]:
        if self._eigen is None:
            self._cholesky = None
            self._eigen = tuple(torch.linalg.eigh(self.matrix))
        values, vectors = self._eigen
        rounding = torch.finfo(values.dtype).eps * values.abs().max()
        if values[0] + damping <= rounding:
            raise _indefinite(damping)
        return values, vectors


def _indefinite(damping: float) -> UserError:
    return UserError(
        f"the matrix plus a damping of {damping:.3g} (absolute) is not positive definite: raise 'damping'"
    )


_kept: tuple[weakref.ref[Any], Hashable, Any] | None = None


def keep(owner: object, key: Hashable, make: Callable[[], T]) -> T:
    """Return ``make()``, or what it gave last time if the latest call had the same owner and key.

    One value is kept at a time, and only while its owner (the pair or curvature that it was computed from)
    lives, so that the candidates of a tuning grid, asked one after the other, share what does not depend on
    the damping.
    """
    global _kept
    if _kept is None or _kept[0]() is not owner or _kept[1] != key:
        _kept = None  # frees the previous value before the next is made
        value = make()
        _kept = (weakref.ref(owner, _forget), key, value)
    return _kept[2]


def _forget(dead: weakref.ref[Any]) -> None:
    global _kept
    if _kept is not None and _kept[0] is dead:
        _kept = None

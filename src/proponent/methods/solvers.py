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
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from proponent.errors import UserError

T = TypeVar("T")

_ROWS_PER_DAMPING = 600
"""An eigendecomposition pays from n / 600 dampings on (read off the table)."""
_COLUMNS = 512
"""Right-hand sides solved at a time where only a diagonal of the answer is kept."""

_grid = 1


@contextmanager
def damping_grid(count: int) -> Iterator[None]:
    """Announce that about ``count`` dampings will be asked of every matrix inside this context."""
    global _grid
    outer, _grid = _grid, count
    try:
        yield
    finally:
        _grid = outer


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
        if _grid > 1 and _grid >= len(self.matrix) / _ROWS_PER_DAMPING:
            values, vectors = self._eigenpairs(damping)
            return vectors @ ((vectors.T @ right) / (values + damping)[:, None])
        return torch.cholesky_solve(right, self._factor(damping))

    def quadratic(self, rows: Tensor, damping: float) -> Tensor:
        """Return ``x^T (A + damping I)^-1 x`` for each of ``rows``, (k, n) -> (k,)."""
        return torch.cat([(chunk.T * self.solve(chunk.T, damping)).sum(0) for chunk in rows.split(_COLUMNS)])

    def hat(self, damping: float) -> Tensor:
        """Return the diagonal of ``(A + damping I)^-1 A``, (n,)."""
        solved = [
            self.solve(columns, damping)[start : start + _COLUMNS].diagonal()
            for start, columns in zip(
                range(0, len(self.matrix), _COLUMNS), self.matrix.split(_COLUMNS, dim=1), strict=True
            )
        ]
        return torch.cat(solved)

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

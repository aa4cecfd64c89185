"""Block conjugate gradients in Galerkin form: one Krylov space for every shift and right-hand side.

Conjugate gradients on ``(A + s I) X = B`` finds, after m products, the best X in the span of B, AB, ...,
A^(m-1) B (O'Leary 1980, "The block conjugate gradient algorithm and related methods"). That span does not
depend on s. So an orthonormal basis V is built once by block Lanczos with full re-orthogonalisation, and each
shift is a small solve with ``T = V A V^T``: ``X = V^T (T + s)^-1 V B``. If A + s I is positive definite, so is T + s.

Written here because ``scipy.sparse.linalg.cg`` and its CuPy counterpart solve one right-hand side and one shift per run:
queries x dampings runs, each with its own products.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from proponent.methods.shared.resolution import (
    ABSOLUTE,
    SMALLEST_SQUARE,
    DampingUnit,
    check_finite,
    rounding,
    vanished,
)


@dataclass
class KrylovSpace:
    """``(A + s I) x = b`` for k right-hand sides b, restricted to a block Krylov space of d dimensions."""

    projected: Tensor
    """V A V^T, (d, d), float64."""
    right: Tensor
    """Coordinates of the right-hand sides, (k, d), float64."""
    residual: float
    """Largest ``||b - (A + s) x|| / ||b||`` at the shift that the space was grown for."""
    unit: DampingUnit
    """Unit in which a refusal names shifts."""
    accuracy: float
    """Relative error of the products with A."""

    def solve(self, shift: float) -> Tensor:
        """Return the coordinates of the solutions at ``shift``, (k, d), float64.

        Raises:
            UserError: A + shift I is not positive definite up to the rounding of the products with A.
        """
        damped = self.projected.clone()
        damped.diagonal().add_(shift)
        factor, info = torch.linalg.cholesky_ex(damped)
        left, whole = factor.diagonal().square(), damped.diagonal()
        if info.item() or not bool((left > self.accuracy * whole).all()):
            values = torch.linalg.eigvalsh(self.projected)
            scale = values.abs().max().item()
            if scale <= SMALLEST_SQUARE and shift <= SMALLEST_SQUARE:
                raise vanished("the sum of curvature and damping")
            raise self.unit.too_small(shift, max(0.0, -values[0].item()) + 4 * self.accuracy * scale)
        return torch.cholesky_solve(self.right.T, factor).T


def grow(
    product: Callable[[Tensor], Tensor],
    right: Tensor,
    *,
    shift: float,
    tolerance: float,
    iterations: int,
    unit: DampingUnit = ABSOLUTE,
) -> tuple[KrylovSpace, list[Tensor]]:
    """Grow the Krylov space of A and the rows of ``right`` until it solves ``(A + shift I) x = b`` for each.

    Args:
        product: function from rows v (j, p) to A v, (j, p), for a symmetric A; the result is a new tensor, which is
            overwritten.
        right: right-hand sides b, (k, p).
        shift: the smallest shift that will be asked for; larger ones converge sooner.
        tolerance: largest relative residual.
        iterations: largest number of products with a block.
        unit: unit in which a refusal names shifts.

    Returns:
        The space, whose ``residual`` exceeds the tolerance where the iterations did not suffice, and the
        blocks of the rows of V, together (d, p) with d at most iterations x k.

    Raises:
        UserError: A + shift I is not positive definite up to rounding, or a product overflows.
    """
    check_finite(right)
    basis: list[Tensor] = []
    block = _orthonormal_rows(right, right.shape[1])
    empty = right.new_zeros(len(right), 0).double()
    space = KrylovSpace(empty[:0], empty, residual=float("inf"), unit=unit, accuracy=rounding(right))
    scale = right.norm(dim=1).double().clamp_min(torch.finfo(torch.float64).tiny)
    if not right.any():  # solved by zeros
        return replace(space, residual=0.0), [right[:0]]
    for _ in range(iterations):
        basis.append(block)
        image = product(block)
        check_finite(image)
        outside, coordinates = _split(image, basis)
        space.projected = _bordered(space.projected, coordinates.double())
        space.right = torch.cat([space.right, (right @ block.T).double()], dim=1)
        error = space.solve(shift)[:, -len(block) :] @ outside.double()
        space.residual = (error.norm(dim=1) / scale).max().item()
        if space.residual <= tolerance:
            break
        room = right.shape[1] - space.right.shape[1]
        block = _orthonormal_rows(outside, room)
        # normalising magnifies the rests of known directions that rounding left: remove them again
        block = _orthonormal_rows(_split(block, basis)[0], room)
        if len(block) == 0:
            break
    return space, basis


def combine(coordinates: Tensor, basis: list[Tensor]) -> Tensor:
    """Return the vectors with these coordinates, (k, d) -> (k, p), in a basis that :func:`grow` returned."""
    parts = coordinates.to(basis[0].dtype).split([len(rows) for rows in basis], dim=1)
    found = parts[0] @ basis[0]
    for part, rows in zip(parts[1:], basis[1:], strict=True):
        found.addmm_(part, rows)
    return found


def _bordered(projected: Tensor, rows: Tensor) -> Tensor:
    """Return the symmetric matrix (d, d) with ``projected`` as its first block and ``rows`` as its last rows."""
    known = len(projected)
    corner = rows[:, known:]
    return torch.cat(
        [
            torch.cat([projected, rows[:, :known].T], dim=1),
            torch.cat([rows[:, :known], (corner + corner.T) / 2], dim=1),
        ]
    )


def _split(rows: Tensor, basis: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the components of ``rows`` outside the span of ``basis``, and their coordinates in it; overwrites ``rows``."""
    coordinates = []
    for known in basis:
        coordinates.append(rows @ known.T)
        rows.addmm_(coordinates[-1], known, alpha=-1)
    return rows, torch.cat(coordinates, dim=1)


def _orthonormal_rows(rows: Tensor, room: int) -> Tensor:
    """Return an orthonormal basis of the span of ``rows``, without directions of rounding, of at most ``room`` vectors."""
    q, r = torch.linalg.qr(rows.T)
    u, singular, _ = torch.linalg.svd(r)
    kept = min(int((singular > 10 * torch.finfo(rows.dtype).eps * singular[:1]).sum()), room)
    return (q @ u[:, :kept]).T

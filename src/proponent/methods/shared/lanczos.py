"""Arnoldi iteration on a symmetric matrix that is met in products only: its outermost eigenpairs.

On a symmetric matrix it is Lanczos' (Golub & Van Loan, "Matrix computations", section 10.1). Every new
direction is orthogonalised twice against all before, without which rounding brings copies of eigenvalues that
were found already.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_STEPS_FOR_LARGEST = 15


def eigenpairs(product: Callable[[Tensor], Tensor], start: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Return Ritz values in descending order (m,), and their vectors as rows (m, p).

    Args:
        product: rows v (1, p) to A v, (1, p); A symmetric.
        start: (1, p).
        iterations: products, hence the dimensions m of the space, fewer where it is exhausted.
    """
    basis = start.new_zeros(0, start.shape[1])
    images = []
    direction = start / start.norm()
    for _ in range(min(iterations, start.shape[1])):
        basis = torch.cat([basis, direction])
        image = product(direction)
        images.append(image)
        outside = image
        for _ in range(2):
            outside = outside - (outside @ basis.T) @ basis
        length = outside.norm()
        if length <= 100 * torch.finfo(start.dtype).eps * image.norm():
            break
        direction = outside / length
    projected = (basis @ torch.cat(images).T).double()
    values, vectors = torch.linalg.eigh((projected + projected.T) / 2)
    return values.flip(0).to(start.dtype), vectors.flip(1).T.to(start.dtype) @ basis


def largest_eigenvalue(product: Callable[[Tensor], Tensor], start: Tensor) -> float:
    """Return the largest absolute eigenvalue of A, from below, of which Lanczos needs some 15 products."""
    return eigenpairs(product, start, _STEPS_FOR_LARGEST)[0].abs().max().item()

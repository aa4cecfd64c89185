"""Arnoldi iteration: the outermost eigenpairs of a symmetric matrix that is available through products only.

On a symmetric matrix it is Lanczos' iteration (Golub & Van Loan, "Matrix computations", section 10.1). Every new
direction is orthogonalised twice against all previous ones, because rounding would otherwise produce copies of
eigenvalues that were found already.

Written here because ``scipy.sparse.linalg.eigsh`` restarts until its eigenpairs converge and works on NumPy arrays;
the method of Schioppa et al. 2022 is a fixed number of products, and these stay on the device of the model.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_STEPS_FOR_LARGEST = 15
"""Number of products for the largest eigenvalue alone, which the iteration approaches first."""


def eigenpairs(product: Callable[[Tensor], Tensor], start: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Return Ritz values in descending order (m,), and their vectors as rows (m, p).

    Args:
        product: function from rows v (1, p) to A v, (1, p), for a symmetric A.
        start: start vector, (1, p).
        iterations: number of products, which is the number m of dimensions unless the space is exhausted earlier.
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
    """Return a lower bound, close to the largest absolute eigenvalue of A; arguments as in :func:`eigenpairs`."""
    return eigenpairs(product, start, _STEPS_FOR_LARGEST)[0].abs().max().item()

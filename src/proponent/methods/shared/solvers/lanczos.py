"""Arnoldi iteration: the outermost eigenpairs of a symmetric matrix that is available through products only.

On a symmetric matrix it is Lanczos' iteration (Golub & Van Loan, "Matrix computations", section 10.1). Every new
direction is orthogonalised twice against all previous ones, because rounding would otherwise produce copies of
eigenvalues that were found already.

Written here because ``scipy.sparse.linalg.eigsh`` restarts until its eigenpairs converge and works on NumPy arrays;
the method of Schioppa et al. 2022 is a fixed number of products, and these stay on the device of the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from proponent.methods.shared.resolution import check_finite

STEPS_FOR_LARGEST = 15
"""Number of products for the largest eigenvalue alone, which the iteration approaches first."""


@dataclass(frozen=True)
class RitzPairs:
    """Approximate eigenpairs in descending order."""

    values: Tensor
    """(m,)"""
    vectors: Tensor
    """Rows of length 1, (m, p)."""
    residuals: Tensor
    """``||A v - value v||`` of each pair, (m,)."""


def vectors_in_memory(iterations: int) -> int:
    """Return the number of vectors that :func:`eigenpairs` holds: directions, their images or the result, and copies."""
    return 2 * iterations + 6


def eigenpairs(product: Callable[[Tensor], Tensor], start: Tensor, iterations: int) -> RitzPairs:
    """Return Ritz values and vectors.

    Args:
        product: function from rows v (1, p) to A v, (1, p), for a symmetric A.
        start: start vector, (1, p).
        iterations: number of products, which is the number m of dimensions unless the space is exhausted earlier.

    Raises:
        UserError: a product overflows.
    """
    most = min(iterations, start.shape[1])
    directions, images = start.new_empty(most, start.shape[1]), start.new_empty(most, start.shape[1])
    direction, count, length = start / start.norm(), 0, start.norm()
    while count < most:
        image = product(direction)
        check_finite(image)
        directions[count], images[count] = direction[0], image[0]
        count += 1
        basis = directions[:count]
        outside = image
        for _ in range(2):
            outside = outside - (outside @ basis.T) @ basis
        length = outside.norm()
        if length <= 100 * torch.finfo(start.dtype).eps * image.norm():
            break
        direction = outside / length
    projected = (basis @ images[:count].T).double()
    del images  # The result takes as much memory.
    values, vectors = torch.linalg.eigh((projected + projected.T) / 2)
    values, vectors = values.flip(0).to(start.dtype), vectors.flip(1).T.to(start.dtype)
    return RitzPairs(values, vectors @ basis, length * vectors[:, -1].abs())


def largest_eigenvalue(product: Callable[[Tensor], Tensor], start: Tensor) -> float:
    """Return a lower bound, close to the largest absolute eigenvalue of A; arguments as in :func:`eigenpairs`."""
    return eigenpairs(product, start, STEPS_FOR_LARGEST).values.abs().max().item()

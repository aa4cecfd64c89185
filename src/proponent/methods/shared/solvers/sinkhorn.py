"""Entropic optimal transport by Sinkhorn's iteration (Cuturi 2013, "Sinkhorn distances").

No library is used: the iteration is fifteen lines, checked against a linear programme (tests/methods/test_valuation.py),
which does not justify a dependency on POT. It runs in the exponential domain, where an iteration costs two matrix-vector
products; in the log domain it would cost an exponential of the whole matrix. Scalings that approach overflow are moved
into the kernel (Schmitzer 2019, "Stabilized sparse scaling algorithms for entropy regularized transport problems").
"""

from __future__ import annotations

import torch
from torch import Tensor

from proponent.errors import UserError

_ITERATIONS = 5000
_TOLERANCE = 1e-6
_CHECKED_EVERY = 10
"""Iterations between two computations of the error."""
_LARGEST_RATIO = 1e30
"""Ratio of the scalings above which they are moved into the kernel."""


def transport_potentials(
    cost: Tensor, strength: float, iterations: int = _ITERATIONS, tolerance: float = _TOLERANCE
) -> Tensor:
    """Return the dual variables f of the rows, (n,), of the entropic transport between uniform distributions.

    They maximise ``mean f + mean g - strength * mean_ij exp((f_i + g_j - cost_ij) / strength)``.

    Args:
        cost: cost of every pair, (n, m).
        strength: weight of the entropy, in units of the cost.
        iterations: largest number of iterations.
        tolerance: largest relative error of a row's mass.

    Raises:
        UserError: the error exceeds the tolerance after ``iterations``.
    """
    n, m = cost.shape
    # the first iteration uses logarithms: no row or column of the kernel can vanish after it
    f = -strength * torch.logsumexp(-cost / strength, 1)
    g = -strength * torch.logsumexp((f[:, None] - cost) / strength, 0)
    kernel, v = ((f[:, None] + g - cost) / strength).exp(), cost.new_ones(m)
    error = float("inf")
    for step in range(iterations):
        u = 1 / (n * (kernel @ v))
        v = 1 / (m * (u @ kernel))
        if step % _CHECKED_EVERY == 0:
            error = float((n * u * (kernel @ v) - 1).abs().max())
            if error <= tolerance:
                return f + strength * u.log()
            if max(u.max() / u.min(), v.max() / v.min()) > _LARGEST_RATIO:
                f, g = f + strength * u.log(), g + strength * v.log()
                kernel, v = ((f[:, None] + g - cost) / strength).exp(), torch.ones_like(v)
    raise UserError(
        f"the optimal transport has not converged after {iterations} iterations (error {error:.1e}): raise 'entropy'"
    )

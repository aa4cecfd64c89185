"""Entropic optimal transport by Sinkhorn's iteration (Cuturi 2013, "Sinkhorn distances").

No library is used: the iteration is fifteen lines, checked against a linear programme (tests/methods/test_valuation.py),
which does not justify a dependency on POT. It runs in the exponential domain, where an iteration costs two matrix-vector
products; in the log domain it would cost an exponential of the whole matrix. Scalings that approach overflow are moved
into the kernel (Schmitzer 2019, "Stabilized sparse scaling algorithms for entropy regularized transport problems").

The iteration hardly moves where mass must cross a gap that is wide compared with the entropy, as between a rare class and
the others. Newton's method on the dual of the columns then continues from where it is (Brauer et al. 2017, "A Sinkhorn-
Newton method for entropic optimal transport").
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from proponent.errors import UserError

_ITERATIONS = 5000
_TOLERANCE = 1e-6
_CHECKED_EVERY = 10
"""Iterations between two computations of the error."""
_NEWTON_STEPS = 200
_LARGEST_RATIO = 1e30
"""Ratio of the scalings above which they are moved into the kernel."""


def transport_potentials(
    cost: Tensor,
    strength: float,
    iterations: int = _ITERATIONS,
    tolerance: float = _TOLERANCE,
    newton_steps: int = _NEWTON_STEPS,
) -> Tensor:
    """Return the dual variables f of the rows, (n,), of the entropic transport between uniform distributions.

    They maximise ``mean f + mean g - strength * mean_ij exp((f_i + g_j - cost_ij) / strength)``.

    Args:
        cost: cost of every pair, (n, m).
        strength: weight of the entropy, in units of the cost.
        iterations: largest number of iterations.
        tolerance: largest relative error of a row's mass.
        newton_steps: largest number of Newton steps after these iterations.

    Raises:
        UserError: the error exceeds the tolerance after all of them.
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
    f, error = _newton(cost, strength, g + strength * v.log(), tolerance, newton_steps)
    if not error <= tolerance:
        raise UserError(
            f"the optimal transport has not converged after {iterations} iterations and {newton_steps} Newton steps "
            f"(error {error:.1e}): raise 'entropy'"
        )
    return f


def _newton(cost: Tensor, strength: float, g: Tensor, tolerance: float, steps: int) -> tuple[Tensor, float]:
    """Return the dual variables of the rows, (n,), starting from those of the columns, (m,), and their error.

    With f the best dual variables of the rows for g, ``mean f + mean g`` is concave in g. Its gradient is the missing mass
    of the columns, and its Hessian is ``-(diag(mass) - n P^T P) / strength`` for the plan P, whose rows have mass 1/n.
    """
    n, m = cost.shape
    largest_step = float(cost.max() - cost.min())

    def rows(columns: Tensor) -> Tensor:
        return -strength * (torch.logsumexp((columns - cost) / strength, 1) - math.log(m))

    f, error = rows(g), float("inf")
    for _ in range(steps):
        plan = ((f[:, None] + g - cost) / strength).exp() / (n * m)
        mass = plan.sum(0)
        missing = 1 / m - mass
        error = float(missing.abs().max() * m)
        if error <= tolerance:
            break
        curvature = (mass.diag() - n * plan.T @ plan) / strength
        # the direction of equal shifts has no curvature, and directions across a wide gap next to none
        curvature = curvature + (1 + 1e-12 * m) / (m * strength) * torch.full_like(curvature, 1 / m)
        curvature.diagonal().add_(1e-13 / (m * strength))
        step = torch.linalg.solve(curvature, missing)
        step *= min(1.0, largest_step / float(step.abs().max()))
        value, slope = f.mean() + g.mean(), missing @ step
        while not (rows(g + step).mean() + (g + step).mean() >= value + 1e-4 * slope):
            step, slope = step / 2, slope / 2
            if float(step.abs().max()) < 1e-14 * largest_step:
                break
        g = g + step
        f = rows(g)
    return f, error

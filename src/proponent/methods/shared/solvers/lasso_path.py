"""LASSO for many targets that share one design matrix, along a path of penalties, and its cross-validated errors.

Accelerated proximal gradient steps (FISTA; Beck & Teboulle 2009, "A fast iterative shrinkage-thresholding algorithm"),
restarted for each target when its momentum points uphill (O'Donoghue & Candes 2015, "Adaptive restart for accelerated
gradient schemes"), starting from the solution at the previous penalty. A step is one product with the design matrix, or
with its Gram matrix where rows outnumber columns.

scikit-learn's LASSO solves one target at a time, whereas all targets (the queries) share the masks here, so that a step
is one matrix product for all of them. The weights agree with scikit-learn's to 2e-6 (tests/methods/test_retrainings.py).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.notes import Note
from proponent.seeds import derive_seed

_STEPS = 2000
"""Largest number of proximal steps per penalty."""
_SWEEP = 20
"""Steps between two checks for converged targets."""
_ENOUGH = 0.95
"""Share of targets whose errors must be rising before the path ends."""


def left_out_errors(x: Tensor, y: Tensor, shares: Tensor, folds: int, tolerance: float, seed: int) -> Tensor:
    """Return the cross-validated squared error of each target at each penalty, (n_shares, n_targets).

    The path ends where the errors of 19 of 20 targets have been rising for two penalties: further errors are infinite.

    Args:
        x: design matrix, (m, n).
        y: targets, (m, n_targets).
        shares: penalties, as in :func:`lasso_path`.
        folds: number of folds of the cross-validation.
        tolerance: accuracy of the weights, as in :func:`lasso_path`.
        seed: seed of the folds.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "datamodels", "folds"))
    fold = torch.randperm(len(x), generator=generator).to(x.device) % folds
    paths, held_out = [], []
    for number in range(folds):
        inside, outside = fold != number, fold == number
        own, targets = x[inside], y[inside]
        paths.append(lasso_path(own - own.mean(0), targets - targets.mean(0), shares, tolerance))
        held_out.append((x[outside] - own.mean(0), y[outside] - targets.mean(0)))
    errors = torch.full((len(shares), y.shape[1]), torch.inf).to(y)
    for at, thetas in enumerate(zip(*paths, strict=True)):
        missed = [right - left @ theta for (left, right), theta in zip(held_out, thetas, strict=True)]
        errors[at] = torch.stack([(miss**2).sum(0) for miss in missed]).sum(0)
        if (errors.argmin(0) < at - 1).double().mean() >= _ENOUGH:
            break
    return errors


def lasso_path(x: Tensor, y: Tensor, shares: Tensor, tolerance: float) -> Iterator[Tensor]:
    """Yield the LASSO weights (n, n_targets) of every column of ``y``, for one penalty of the path after the other.

    Args:
        x: design matrix with centred columns, (m, n).
        y: targets with centred columns, (m, n_targets).
        shares: descending penalties, in units of max |x^T y| / m of each target, the smallest with all weights 0.
        tolerance: largest change of a weight in the last step, relative to the largest weight of the target.

    Raises:
        UserError: ``x`` is zero.
    """
    m, n = x.shape
    slope_at_zero = x.T @ y / m
    largest = slope_at_zero.abs().amax(0)
    gram = x.T @ x / m if n < m else None

    def slope(theta: Tensor, columns: Tensor) -> Tensor:
        product = gram @ theta if gram is not None else x.T @ (x @ theta) / m
        return product - slope_at_zero[:, columns]

    curvature = torch.linalg.eigvalsh(gram if gram is not None else x @ x.T / m)[-1]
    if not curvature > 0:
        raise UserError("all retrainings keep the same examples: use a design with random subsets")
    step = 1 / curvature
    theta = torch.zeros_like(slope_at_zero)
    for share in shares:
        theta = _solve(slope, theta, step, share * largest, tolerance)
        yield theta


def _solve(
    slope: Callable[[Tensor, Tensor], Tensor], theta: Tensor, step: Tensor, alpha: Tensor, tolerance: float
) -> Tensor:
    """Return the weights at the penalties ``alpha`` (n_targets,), starting from ``theta``.

    ``slope`` maps weights and the indices of their columns to the gradient of the squared error.
    """
    result = theta.clone()
    columns = torch.arange(theta.shape[1], device=theta.device)
    ahead, momentum = theta, theta.new_ones(theta.shape[1])
    for taken in range(_STEPS):
        moved = ahead - step * slope(ahead, columns)
        new = moved.sign() * (moved.abs() - step * alpha).clamp_min(0)
        change = new - theta
        uphill = ((ahead - new) * change).sum(0) > 0
        grown = (1 + (1 + 4 * momentum**2).sqrt()) / 2
        ahead = new + torch.where(uphill, 0.0, (momentum - 1) / grown) * change
        momentum = torch.where(uphill, 1.0, grown)
        theta = new
        active = change.abs().amax(0) > tolerance * new.abs().amax(0)
        if not bool(active.any()):
            break
        # dropping converged targets saves work in the products but costs a copy, so it is done every 20 steps
        if taken % _SWEEP == _SWEEP - 1 and not bool(active.all()):
            result[:, columns[~active]] = theta[:, ~active]
            columns, theta, ahead = columns[active], theta[:, active], ahead[:, active]
            momentum, alpha = momentum[active], alpha[active]
    else:
        warnings.warn(
            f"the LASSO of {int(active.sum())} of {result.shape[1]} queries has not converged after {_STEPS} steps",
            Note,
            stacklevel=2,
        )
    result[:, columns] = theta
    return result

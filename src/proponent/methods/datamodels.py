"""Datamodels (Ilyas et al. 2022, "Datamodels: predicting predictions from training data"): LASSO on retrainings.

For each query, over retrainings on subsets S_j with targets y_j,

    min over b, theta   1/(2m) sum_j (y_j - b - 1_{S_j} theta)^2 + alpha ||theta||_1,      scores = theta

with alpha from a geometric path by cross-validation over the retrainings, so that no ground truth of the
evaluation is needed. All queries share the masks, so they are solved side by side: accelerated proximal gradient
steps (FISTA; Beck & Teboulle 2009), restarted for each query whenever its momentum points uphill (O'Donoghue &
Candes 2015), from the solution at the alpha before. A step is one product with the masks, or with their Gram
matrix where retrainings outnumber examples.

Shapes: (n_query, n_train). Cost: folds * path * steps of 2 min(m, n) n n_query operations. Needs far more
retrainings than a target has influential examples (times a logarithm); the paper used hundreds of thousands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from proponent.methods.inputs import Retrainings
from proponent.seeds import derive_seed

_STEPS = 2000
"""Most proximal steps for one alpha."""


def attribute(
    retrainings: Retrainings,
    *,
    penalty: Literal["query", "shared"] = "query",
    folds: int = 4,
    path: int = 12,
    shortest: float = 0.03,
    tolerance: float = 1e-3,
    seed: int = 0,
) -> Tensor:
    """Return the weights of the datamodels.

    Args:
        retrainings: of the ``fit`` design.
        penalty: alpha (over the smallest that leaves no example) with the smallest cross-validated error of each
            query, or in the sum over all queries (each in units of its variance).
        folds: of the cross-validation.
        path: number of alphas.
        shortest: the last alpha of the path over its first, which leaves no example.
        tolerance: a step that moves no weight by more than this share of the largest one is the last.
        seed: of the folds.
    """
    masks, targets = retrainings.masks.to(retrainings.targets), retrainings.targets
    generator = torch.Generator().manual_seed(derive_seed(seed, "datamodels", "folds"))
    fold = torch.randperm(len(masks), generator=generator).to(masks.device) % folds
    shares = torch.logspace(0, torch.tensor(shortest).log10().item(), path).to(targets)
    errors = targets.new_zeros(path, targets.shape[1])
    for held_out in range(folds):
        x, y = masks[fold != held_out], targets[fold != held_out]
        x_mean, y_mean = x.mean(0), y.mean(0)
        others = masks[fold == held_out] - x_mean
        truth = targets[fold == held_out] - y_mean

        def record(at: int, theta: Tensor, others: Tensor = others, truth: Tensor = truth) -> None:
            errors[at] += ((truth - others @ theta) ** 2).sum(0)

        lasso_path(x - x_mean, y - y_mean, shares, tolerance, record)
    if penalty == "shared":
        variance = targets.var(0).clamp_min(torch.finfo(targets.dtype).tiny)
        errors = (errors / variance).mean(1, keepdim=True).expand_as(errors)
    chosen = errors.argmin(0)
    scores = targets.new_zeros(targets.shape[1], masks.shape[1])

    def take(at: int, theta: Tensor) -> None:
        scores[chosen == at] = theta.T[chosen == at]

    lasso_path(masks - masks.mean(0), targets - targets.mean(0), shares[: chosen.max() + 1], tolerance, take)
    return scores


def lasso_path(
    x: Tensor, y: Tensor, shares: Tensor, tolerance: float, found: Callable[[int, Tensor], None]
) -> None:
    """Solve the LASSO of every column of ``y`` for each alpha of a path.

    Args:
        x: (m, n), columns centred.
        y: (m, n_query), columns centred.
        shares: descending alphas over max |x^T y| / m of each query.
        tolerance: see :func:`attribute`.
        found: called with the place on the path and the weights (n, n_query) there.
    """
    m, n = x.shape
    slope_at_zero = x.T @ y / m
    largest = slope_at_zero.abs().amax(0)
    gram = x.T @ x / m if n < m else None

    def slope(theta: Tensor) -> Tensor:
        return (gram @ theta if gram is not None else x.T @ (x @ theta) / m) - slope_at_zero

    step = 1 / torch.linalg.eigvalsh(gram if gram is not None else x @ x.T / m)[-1]
    theta = torch.zeros_like(slope_at_zero)
    for at, share in enumerate(shares):
        theta = _solve(slope, theta, step, share * largest, tolerance)
        found(at, theta)


def _solve(
    slope: Callable[[Tensor], Tensor], theta: Tensor, step: Tensor, alpha: Tensor, tolerance: float
) -> Tensor:
    ahead, momentum = theta, theta.new_ones(theta.shape[1])
    for _ in range(_STEPS):
        moved = ahead - step * slope(ahead)
        new = moved.sign() * (moved.abs() - step * alpha).clamp_min(0)
        change = new - theta
        uphill = ((ahead - new) * change).sum(0) > 0
        grown = (1 + (1 + 4 * momentum**2).sqrt()) / 2
        ahead = new + torch.where(uphill, 0.0, (momentum - 1) / grown) * change
        momentum = torch.where(uphill, 1.0, grown)
        theta = new
        if bool((change.abs().amax(0) <= tolerance * new.abs().amax(0)).all()):
            break
    return theta

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

import math
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from proponent.methods.shared.needs import Retrainings
from proponent.methods.shared.solvers import keep
from proponent.seeds import derive_seed

_STEPS = 2000
"""Most proximal steps for one alpha."""
_SWEEP = 20
"""Steps between two looks at which queries have arrived."""
_ENOUGH = 0.95
"""Share of queries whose best alpha must be behind before the path ends."""


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
    shares = torch.logspace(0, math.log10(shortest), path).to(targets)
    errors = keep(
        retrainings,
        ("datamodels", folds, path, shortest, tolerance, seed),
        lambda: left_out_errors(masks, targets, shares, folds, tolerance, seed),
    )
    if penalty == "shared":
        variance = targets.var(0).clamp_min(torch.finfo(targets.dtype).tiny)
        errors = (errors / variance).mean(1, keepdim=True).expand_as(errors)
    chosen = errors.argmin(0)
    scores = targets.new_zeros(targets.shape[1], masks.shape[1])
    whole = lasso_path(masks - masks.mean(0), targets - targets.mean(0), shares, tolerance)
    for at, theta in zip(range(int(chosen.max()) + 1), whole, strict=False):
        scores[chosen == at] = theta.T[chosen == at]
    return scores


def left_out_errors(
    masks: Tensor, targets: Tensor, shares: Tensor, folds: int, tolerance: float, seed: int
) -> Tensor:
    """Return the cross-validated squared error of each query at each place on the path, (n_shares, n_query).

    Where the errors of 19 queries of 20 have been rising for two places, the path ends: further errors are infinite.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "datamodels", "folds"))
    fold = torch.randperm(len(masks), generator=generator).to(masks.device) % folds
    paths, held_out = [], []
    for number in range(folds):
        x, y, own = masks[fold != number], targets[fold != number], fold == number
        paths.append(lasso_path(x - x.mean(0), y - y.mean(0), shares, tolerance))
        held_out.append((masks[own] - x.mean(0), targets[own] - y.mean(0)))
    errors = torch.full((len(shares), targets.shape[1]), torch.inf).to(targets)
    for at, thetas in enumerate(zip(*paths, strict=True)):
        missed = [y - x @ theta for (x, y), theta in zip(held_out, thetas, strict=True)]
        errors[at] = torch.stack([(miss**2).sum(0) for miss in missed]).sum(0)
        if (errors.argmin(0) < at - 1).double().mean() >= _ENOUGH:
            break
    return errors


def lasso_path(x: Tensor, y: Tensor, shares: Tensor, tolerance: float) -> Iterator[Tensor]:
    """Yield the LASSO weights (n, n_query) of every column of ``y``, for one alpha of a path after the other.

    Args:
        x: (m, n), columns centred.
        y: (m, n_query), columns centred.
        shares: descending alphas over max |x^T y| / m of each query.
        tolerance: see :func:`attribute`.
    """
    m, n = x.shape
    slope_at_zero = x.T @ y / m
    largest = slope_at_zero.abs().amax(0)
    gram = x.T @ x / m if n < m else None

    def slope(theta: Tensor, columns: Tensor) -> Tensor:
        product = gram @ theta if gram is not None else x.T @ (x @ theta) / m
        return product - slope_at_zero[:, columns]

    step = 1 / torch.linalg.eigvalsh(gram if gram is not None else x @ x.T / m)[-1]
    theta = torch.zeros_like(slope_at_zero)
    for share in shares:
        theta = _solve(slope, theta, step, share * largest, tolerance)
        yield theta


def _solve(
    slope: Callable[[Tensor, Tensor], Tensor], theta: Tensor, step: Tensor, alpha: Tensor, tolerance: float
) -> Tensor:
    """Return the weights at ``alpha`` (n_query,), beginning at ``theta``; ``slope`` is asked for some columns of it."""
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
        going = change.abs().amax(0) > tolerance * new.abs().amax(0)
        # queries that have arrived go on for nothing; to leave them out costs a copy
        if not bool(going.any()) or taken == _STEPS - 1:
            break
        if taken % _SWEEP == _SWEEP - 1 and not bool(going.all()):
            result[:, columns[~going]] = theta[:, ~going]
            columns, theta, ahead = columns[going], theta[:, going], ahead[:, going]
            momentum, alpha = momentum[going], alpha[going]
    result[:, columns] = theta
    return result

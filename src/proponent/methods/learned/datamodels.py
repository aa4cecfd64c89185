"""Datamodels (Ilyas et al. 2022, "Datamodels: predicting predictions from training data"): LASSO on retrainings.

For each query, with retrainings on subsets S_j whose targets are y_j,

    min over b, theta   1/(2m) sum_j (y_j - b - 1_{S_j} theta)^2 + alpha ||theta||_1,      scores = theta

alpha is one of twelve values of a geometric path, from the smallest alpha with theta = 0 down to .03 of it, chosen by
four-fold cross-validation over the retrainings, so that no ground truth of the evaluation is used. The solver is
:mod:`proponent.methods.shared.solvers.lasso_path`.

Shapes: (n_query, n_train). Cost: folds * path * steps of 2 min(m, n) n n_query operations, in addition to the
retrainings. The number of retrainings must be far above the number of influential examples of a target (times a
logarithm); the paper used hundreds of thousands.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from proponent.methods.shared.needs import Retrainings, Workspace
from proponent.methods.shared.retrained_targets import varying_targets
from proponent.methods.shared.retraining_regression import best_penalty
from proponent.methods.shared.solvers.lasso_path import lasso_path, left_out_errors

_FOLDS = 4
_PATH = 12
_SHORTEST = 0.03
"""Last alpha of the path, relative to the first."""
_TOLERANCE = 1e-3
"""Largest change of a weight in the solver's last step, relative to the largest weight of the query."""


def attribute(
    retrainings: Retrainings,
    workspace: Workspace,
    *,
    penalty: Literal["query", "shared"] = "query",
    seed: int = 0,
) -> Tensor:
    """Return the weights of the datamodels, (n_query, n_train).

    Args:
        retrainings: retrainings of the ``fit`` design.
        workspace: storage that keeps the cross-validated errors between calls.
        penalty: choice of alpha, relative to the smallest alpha with theta = 0: ``query`` minimises the cross-validated
            error of each query, ``shared`` the sum over all queries, each in units of its variance.
        seed: seed of the folds.
    """
    masks, targets = retrainings.masks.to(retrainings.targets), varying_targets(retrainings.targets)
    shares = torch.logspace(0, math.log10(_SHORTEST), _PATH).to(targets)
    errors = workspace.keep(
        retrainings,
        ("datamodels", seed),
        lambda: left_out_errors(masks, targets, shares, _FOLDS, _TOLERANCE, seed),
    )
    chosen = best_penalty(errors, targets, penalty)
    scores = targets.new_zeros(targets.shape[1], masks.shape[1])
    whole = lasso_path(masks - masks.mean(0), targets - targets.mean(0), shares, _TOLERANCE)
    for at, theta in zip(range(int(chosen.max()) + 1), whole, strict=False):
        scores[chosen == at] = theta.T[chosen == at]
    return scores

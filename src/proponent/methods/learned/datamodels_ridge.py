"""Ridge datamodels: linear models from subsets to targets, fitted to retrainings in closed form.

For each query, with retrainings on subsets S_j whose targets are y_j (Ilyas et al. 2022, "Datamodels", with a squared
penalty instead of the absolute one),

    min over b, theta   sum_j (y_j - b - 1_{S_j} theta)^2 + lam ||theta||^2,      scores = theta

With X the masks and y the targets, both centred, and V = X X^T + lam I: ``theta = X^T V^-1 y``. lam is chosen by the
exact leave-one-out error over the retrainings (:mod:`proponent.methods.shared.retraining_regression`), so that no ground
truth of the evaluation is used.

Shapes: (n_query, n_train). Cost: m n r for the decomposition, r = min(m, n), and m r n_query per lam, in addition to the
retrainings. The penalty spreads the effect of few examples over all, so that more retrainings are needed than with the
LASSO where few examples matter. Fails, as all linear models do, where the target is not additive in the examples.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from proponent.methods.shared.needs import Retrainings, Workspace
from proponent.methods.shared.retraining_regression import PENALTIES, Covariance, best_penalty, centred


def attribute(
    retrainings: Retrainings, workspace: Workspace, *, penalty: Literal["query", "shared"] = "query"
) -> Tensor:
    """Return the weights of ridge datamodels, (n_query, n_train).

    Args:
        retrainings: retrainings of the ``fit`` design.
        workspace: storage that keeps the decomposition between calls.
        penalty: choice of lam: ``query`` minimises the leave-one-out error of each query, ``shared`` the sum over all
            queries, each in units of its variance.
    """
    masks, targets = centred(retrainings)
    covariance = workspace.keep(retrainings, "datamodels-ridge", lambda: Covariance.of(masks))
    lams = [relative * covariance.mean_diagonal for relative in PENALTIES]
    weights = [covariance.solve(targets, lam) for lam in lams]
    missed = [w / covariance.inverse_diagonal(lam)[:, None] for w, lam in zip(weights, lams, strict=True)]
    chosen = best_penalty(torch.stack([(e**2).mean(0) for e in missed]), targets, penalty)
    solved = torch.stack(weights)[chosen, :, torch.arange(len(chosen), device=chosen.device)]
    return (solved @ masks).to(retrainings.targets.dtype)

"""Datamodels that begin from gradients: retrainings correct a TRAK score p instead of replacing it.

For each query, over retrainings on subsets S_j with targets y_j,

    min over b, s, theta   sum_j (y_j - b - 1_{S_j} theta)^2 + lam sum_i (theta_i - s p_i)^2 / v_i,   scores = theta

The penalty draws theta not to zero but to the best multiple of TRAK's scores (Park et al. 2023), which a few trained
models give; and since the effect of few examples is large, an example may move away from there by as much as it
is thought to matter: ``v_i = |p_i| / mean |p| + 0.05``. It is the posterior mean of a Gaussian prior around s p with
variances v. As lam grows the scores become TRAK's, as it falls those of the retrainings alone, and the
leave-one-out error over the retrainings decides how much to believe either.

With X the masks, y the targets and z = X p, all minus their means, V = X diag(v) X^T + lam I and
P = V^-1 - V^-1 z z^T V^-1 / (z^T V^-1 z), generalised least squares gives

    s = z^T V^-1 y / (z^T V^-1 z),      theta = s p + diag(v) X^T P y,

and ``(P y)_j / (P_jj - 1 / (m lam))`` is what is missed at retraining j when it is left out.

Shapes: (n_query, n_train). Cost, beside TRAK's: an eigendecomposition for each query, r m n + r^3, r = min(m, n).
Needs both the gradients of members and retrainings, and is charged for both.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from proponent.methods.learned.datamodels_ridge import PENALTIES, Covariance, best_penalty, centred
from proponent.methods.shared.needs import Gradients, Retrainings
from proponent.methods.trak import trak

_LEAST_VARIANCE = 0.05
"""v of an example that the prior takes for irrelevant, over that of an average one."""


def attribute(
    gradients: Gradients,
    *,
    damping: float = 3.0,
    growing: bool = False,
    checkpoint: float = 0.25,
    weighting: Literal["none", "sqrt", "full"] = "sqrt",
) -> tuple[Tensor, Tensor]:
    """Return one member's TRAK kernel and weights; arguments are those of :func:`proponent.methods.trak.trak.attribute`."""
    return trak.attribute(
        gradients, damping=damping, growing=growing, checkpoint=checkpoint, weighting=weighting
    )


def finish(scores: Tensor, retrainings: Retrainings) -> Tensor:
    """Return the weights of datamodels around TRAK scores, (n_query, n_train).

    lam is shared by all queries: for each its own, a hundred retrainings choose too badly.

    Args:
        scores: TRAK's over all members, p above.
        retrainings: of the ``fit`` design.
    """
    return fit(retrainings, scores, "shared")


def fit(retrainings: Retrainings, prior: Tensor, penalty: str) -> Tensor:
    """Return theta, (n_query, n_train), for a ``prior`` p of the same shape."""
    masks, targets = centred(retrainings)
    p = prior.double()
    v = p.abs() / p.abs().mean(1, keepdim=True).clamp_min(torch.finfo(p.dtype).tiny) + _LEAST_VARIANCE
    errors = targets.new_zeros(len(PENALTIES), len(p))
    weights = targets.new_zeros(len(PENALTIES), len(p), len(masks))
    scales = torch.zeros_like(errors)
    for q in range(len(p)):
        covariance = Covariance.of(masks * v[q].sqrt())
        z, y = (masks @ p[q])[:, None], targets[:, q, None]
        for at, relative in enumerate(PENALTIES):
            lam = relative * covariance.mean_diagonal
            weighed = covariance.solve(z, lam)
            norm = (z * weighed).sum().clamp_min(torch.finfo(z.dtype).tiny)
            scales[at, q] = (weighed * y).sum() / norm
            weights[at, q] = (covariance.solve(y, lam) - scales[at, q] * weighed)[:, 0]
            own = covariance.inverse_diagonal(lam) - weighed[:, 0] ** 2 / norm
            errors[at, q] = ((weights[at, q] / own) ** 2).mean()
    chosen, queries = best_penalty(errors, targets, penalty), torch.arange(len(p), device=p.device)
    theta = scales[chosen, queries][:, None] * p + v * (weights[chosen, queries] @ masks)
    return theta.to(prior.dtype)

"""Ridge datamodels: a linear model from subsets to targets, fitted to retrainings; with a prior, from gradients.

For each query, over retrainings on subsets S_j with targets y_j (Ilyas et al. 2022, "Datamodels", with a squared
penalty in the place of the absolute one):

    min over b, scale, theta   sum_j (y_j - b - 1_{S_j} theta)^2 + lam ||theta - scale * prior||^2

and ``scores = theta``. Without a prior this is ridge regression with a free intercept. With one (the scores of a
gradient method) theta is drawn to the best multiple of it, so that few retrainings correct what gradients get
wrong, where otherwise they would have to find everything.

With X the masks minus their mean, y and z = X prior centred likewise, V = X X^T + lam I and
P = V^-1 - V^-1 z z^T V^-1 / (z^T V^-1 z), generalised least squares gives

    scale = z^T V^-1 y / (z^T V^-1 z),      theta = scale * prior + X^T P y

and P also has the exact residuals when retraining j is left out, ``(P y)_j / (P_jj - 1 / (m lam))`` (the last term is
the intercept's), by which lam is chosen: no ground truth of the evaluation is needed. One singular value
decomposition of X serves all queries and all lam.

Shapes: (n_query, n_train). Cost: r m n for the decomposition, r = min(m, n), and r m n_query for each lam. It fails
as everything linear does where the target is not additive in the examples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from proponent.methods.inputs import Retrainings
from proponent.methods.solvers import keep

PENALTIES = tuple(10.0 ** (power / 2) for power in range(-4, 9))
"""lam that are tried, over the mean diagonal of X X^T: half a decade apart, .01 to 10,000."""


def attribute(retrainings: Retrainings, *, penalty: Literal["query", "shared"] = "query") -> Tensor:
    """Return the weights of ridge datamodels.

    Args:
        retrainings: of the ``fit`` design.
        penalty: lam with the smallest leave-one-out error of each query, or in the sum over all queries (each in
            units of its variance).
    """
    return fit(retrainings, None, penalty).T


@dataclass(frozen=True)
class Decomposition:
    """X = u diag(s) v^T, m retrainings by n examples, columns centred."""

    u: Tensor
    s: Tensor
    v: Tensor
    masks: Tensor

    @property
    def mean_diagonal(self) -> float:
        """Mean diagonal of X X^T."""
        return (self.s**2).sum().item() / len(self.u)

    def weigh(self, values: Tensor, lam: float) -> Tensor:
        """Return V^-1 values, (m, k)."""
        shrunk = 1 / (self.s**2 + lam) - 1 / lam
        return self.u @ (shrunk[:, None] * (self.u.T @ values)) + values / lam

    def diagonal(self, lam: float) -> Tensor:
        """Return the diagonal of V^-1 without the intercept's share, (m,)."""
        shrunk = 1 / (self.s**2 + lam) - 1 / lam
        return self.u**2 @ shrunk + 1 / lam - 1 / (len(self.u) * lam)


def fit(retrainings: Retrainings, prior: Tensor | None, penalty: str) -> Tensor:
    """Return theta, (n_train, n_query).

    Args:
        retrainings: masks and targets.
        prior: (n_train, n_query), or None.
        penalty: as in :func:`attribute`.
    """
    x = keep(retrainings, "datamodels", lambda: decompose(retrainings))
    y = retrainings.targets.double()
    y = y - y.mean(0)
    z = None if prior is None else x.masks @ prior.double()
    lams = [x.mean_diagonal * relative for relative in PENALTIES]
    errors = torch.stack([(left_out_residuals(x, y, z, lam) ** 2).mean(0) for lam in lams])
    if penalty == "shared":
        relative = errors / (y**2).mean(0).clamp_min(torch.finfo(y.dtype).tiny)
        errors = relative.mean(1, keepdim=True).expand_as(errors)
    chosen = errors.argmin(0)
    theta = y.new_zeros(x.v.shape[0], y.shape[1])
    for index in chosen.unique().tolist():
        mine = chosen == index
        weights, scale = _projected(x, y[:, mine], None if z is None else z[:, mine], lams[index])
        theta[:, mine] = x.masks.T @ weights
        if prior is not None:
            theta[:, mine] += scale * prior[:, mine].double()
    return theta.to(retrainings.targets.dtype)


def decompose(retrainings: Retrainings) -> Decomposition:
    """Return the decomposition of the centred masks, in float64."""
    masks = retrainings.masks.double()
    masks = masks - masks.mean(0)
    # the eigenvectors of the smaller side; singular values below rounding carry nothing
    wide = masks.shape[0] <= masks.shape[1]
    values, vectors = torch.linalg.eigh(masks @ masks.T if wide else masks.T @ masks)
    solid = values > values[-1] * max(masks.shape) * torch.finfo(values.dtype).eps
    s, vectors = values[solid].sqrt(), vectors[:, solid]
    other = (masks.T if wide else masks) @ vectors / s
    return Decomposition(*((vectors, s, other) if wide else (other, s, vectors)), masks)


def left_out_residuals(x: Decomposition, y: Tensor, z: Tensor | None, lam: float) -> Tensor:
    """Return what the fit to all other retrainings misses at each, (m, n_query).

    The intercept and the scale are fitted anew without it, too.
    """
    weights, _ = _projected(x, y, z, lam)
    own = x.diagonal(lam)[:, None]
    if z is not None:
        weighed = x.weigh(z, lam)
        own = own - weighed**2 / _positive((z * weighed).sum(0))
    return weights / own


def _projected(x: Decomposition, y: Tensor, z: Tensor | None, lam: float) -> tuple[Tensor, Tensor]:
    """Return P y, (m, n_query), and the scale of the prior, (n_query,)."""
    weights = x.weigh(y, lam)
    if z is None:
        return weights, y.new_zeros(y.shape[1])
    weighed = x.weigh(z, lam)
    scale = (z * weights).sum(0) / _positive((z * weighed).sum(0))
    return weights - scale * weighed, scale


def _positive(values: Tensor) -> Tensor:
    return values.clamp_min(torch.finfo(values.dtype).tiny)

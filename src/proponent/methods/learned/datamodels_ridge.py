"""Ridge datamodels: a linear model from subsets to targets, fitted to retrainings (in closed form).

For each query, over retrainings on subsets S_j with targets y_j (Ilyas et al. 2022, "Datamodels", with a squared
penalty in the place of the absolute one):

    min over b, theta   sum_j (y_j - b - 1_{S_j} theta)^2 + lam ||theta||^2,      scores = theta

With X the masks and y the targets, both minus their means, and V = X X^T + lam I: ``theta = X^T V^-1 y``. What the
fit misses at retraining j when that is left out is exactly ``(V^-1 y)_j / (V^-1_jj - 1 / (m lam))`` (the last term
is the intercept's), and lam is chosen by it: no ground truth of the evaluation is needed. One eigendecomposition
serves all queries and all lam.

Shapes: (n_query, n_train). Cost: m n r for the decomposition, r = min(m, n), and m r n_query for each lam. It
spreads over all examples what few of them did, so it needs more retrainings than the LASSO where few matter, and
fails as everything linear does where the target is not additive in the examples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from proponent.methods.shared.needs import Retrainings
from proponent.methods.shared.solvers import keep

PENALTIES = tuple(10.0 ** (power / 2) for power in range(-4, 9))
"""lam that are tried, over the mean diagonal of X X^T: half a decade apart, .01 to 10,000."""


def attribute(retrainings: Retrainings, *, penalty: Literal["query", "shared"] = "query") -> Tensor:
    """Return the weights of ridge datamodels.

    Args:
        retrainings: of the ``fit`` design.
        penalty: lam with the smallest leave-one-out error of each query, or in the sum over all queries (each in
            units of its variance).
    """
    masks, targets = centred(retrainings)
    covariance = keep(retrainings, "datamodels-ridge", lambda: Covariance.of(masks))
    lams = [relative * covariance.mean_diagonal for relative in PENALTIES]
    weights = [covariance.solve(targets, lam) for lam in lams]
    missed = [w / covariance.inverse_diagonal(lam)[:, None] for w, lam in zip(weights, lams, strict=True)]
    chosen = best_penalty(torch.stack([(e**2).mean(0) for e in missed]), targets, penalty)
    solved = torch.stack(weights)[chosen, :, torch.arange(len(chosen), device=chosen.device)]
    return (solved @ masks).to(retrainings.targets.dtype)


def centred(retrainings: Retrainings) -> tuple[Tensor, Tensor]:
    """Return masks (m, n) and targets (m, n_query) minus their means over retrainings, in float64."""
    masks, targets = retrainings.masks.double(), retrainings.targets.double()
    return masks - masks.mean(0), targets - targets.mean(0)


def best_penalty(errors: Tensor, targets: Tensor, penalty: str) -> Tensor:
    """Return the row of ``errors`` (n_penalties, n_query) that is best for each query, (n_query,).

    Args:
        errors: mean squared errors.
        targets: (m, n_query); where the choice is shared, errors are in units of their variance.
        penalty: ``query`` or ``shared``.
    """
    if penalty == "shared":
        relative = errors / targets.var(0).clamp_min(torch.finfo(errors.dtype).tiny)
        errors = relative.mean(1, keepdim=True).expand_as(errors)
    return errors.argmin(0)


@dataclass(frozen=True)
class Covariance:
    """``X X^T = u diag(values) u^T`` with m rows and centred columns, so that V = X X^T + lam I is diagonal there."""

    u: Tensor
    values: Tensor

    @classmethod
    def of(cls, x: Tensor) -> Covariance:
        """Return the decomposition for X, (m, n), found on its smaller side."""
        wide = x.shape[0] <= x.shape[1]
        values, vectors = torch.linalg.eigh(x @ x.T if wide else x.T @ x)
        # what is below rounding carries nothing, and would be divided by
        solid = values > values[-1] * max(x.shape) * torch.finfo(values.dtype).eps
        values, vectors = values[solid], vectors[:, solid]
        return cls(vectors if wide else x @ vectors / values.sqrt(), values)

    @property
    def mean_diagonal(self) -> float:
        """Mean diagonal of X X^T."""
        return self.values.sum().item() / len(self.u)

    def solve(self, right: Tensor, lam: float) -> Tensor:
        """Return V^-1 right, (m, k)."""
        return self.u @ (self._beyond(lam)[:, None] * (self.u.T @ right)) + right / lam

    def inverse_diagonal(self, lam: float) -> Tensor:
        """Return the diagonal of V^-1 without the intercept's share, (m,)."""
        return self.u**2 @ self._beyond(lam) + 1 / lam - 1 / (len(self.u) * lam)

    def _beyond(self, lam: float) -> Tensor:
        return 1 / (self.values + lam) - 1 / lam

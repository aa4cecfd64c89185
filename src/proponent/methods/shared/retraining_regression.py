"""Regression of retrained targets on the masks of retrainings: what LASSO and ridge datamodels have in common.

With X the masks (m, n) and y the targets, both centred over the m retrainings, and V = X X^T + lam I, ridge weights are
``X^T V^-1 y``. The error at retraining j of the fit to all other retrainings is ``(V^-1 y)_j / (V^-1_jj - 1 / (m lam))``
(PRESS; Allen 1974), where the last term is due to the intercept. One eigendecomposition serves all queries and all lam.

scikit-learn's ``RidgeCV`` reports the same errors but not V^-1, from which the weights around a prior are computed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.methods.shared.needs import Retrainings
from proponent.methods.shared.resolution import SMALLEST_SQUARE, rounding
from proponent.methods.shared.retrained_targets import varying_targets

PENALTIES = tuple(10.0 ** (power / 2) for power in range(-4, 9))
"""Candidates for lam, in units of the mean diagonal of X X^T: half a decade apart, .01 to 10,000."""
_LEAST_VARIANCE = 0.05
"""Prior variance of an example whose prior score is 0, in units of the mean prior variance without this constant."""


def centred(retrainings: Retrainings) -> tuple[Tensor, Tensor]:
    """Return masks (m, n) and targets (m, n_query) minus their means over retrainings, in float64."""
    masks, targets = retrainings.masks.double(), varying_targets(retrainings.targets.double())
    return masks - masks.mean(0), targets - targets.mean(0)


def best_penalty(errors: Tensor, targets: Tensor, penalty: str) -> Tensor:
    """Return the row of ``errors`` (n_penalties, n_query) that is best for each query, (n_query,).

    Args:
        errors: squared errors on left-out retrainings.
        targets: targets (m, n_query); a shared choice minimises the sum of the errors in units of their variances.
        penalty: ``query`` for one choice per query, or ``shared`` for one choice for all queries.
    """
    if penalty == "shared":
        relative = errors / targets.var(0).clamp_min(torch.finfo(errors.dtype).tiny)
        errors = relative.mean(1, keepdim=True).expand_as(errors)
    return errors.argmin(0)


@dataclass(frozen=True)
class Covariance:
    """Eigendecomposition ``X X^T = u diag(values) u^T`` for X with m rows and centred columns."""

    u: Tensor
    """Eigenvectors of eigenvalues above rounding, (m, r)."""
    values: Tensor
    """Eigenvalues, (r,)."""

    @classmethod
    def of(cls, x: Tensor) -> Covariance:
        """Return the decomposition for X, (m, n), computed on its smaller side.

        Raises:
            UserError: X is zero.
        """
        wide = x.shape[0] <= x.shape[1]
        values, vectors = torch.linalg.eigh(x @ x.T if wide else x.T @ x)
        if not values[-1] > 0:
            raise UserError("all retrainings keep the same examples: use a design with random subsets")
        # eigenvalues below rounding contain no information and would be divided by
        solid = values > values[-1] * max(x.shape) * torch.finfo(values.dtype).eps
        values, vectors = values[solid], vectors[:, solid]
        return cls(vectors if wide else x @ vectors / values.sqrt(), values)

    @property
    def mean_diagonal(self) -> float:
        """Mean diagonal of X X^T."""
        return self.values.sum().item() / len(self.u)

    def solve(self, right: Tensor, lam: float) -> Tensor:
        """Return V^-1 right, (m, k)."""
        return self.u @ (self._difference(lam)[:, None] * (self.u.T @ right)) + right / lam

    def inverse_diagonal(self, lam: float) -> Tensor:
        """Return the diagonal of V^-1 minus the intercept's share 1 / (m lam), (m,)."""
        return self.u**2 @ self._difference(lam) + 1 / lam - 1 / (len(self.u) * lam)

    def _difference(self, lam: float) -> Tensor:
        """Return the eigenvalues of V^-1 minus 1 / lam, (r,)."""
        return 1 / (self.values + lam) - 1 / lam


def weights_around_prior(retrainings: Retrainings, prior: Tensor, penalty: str) -> Tensor:
    """Return theta, (n_query, n_train), of datamodels around a ``prior`` p of the same shape.

    For each query theta minimises ``sum_j (y_j - b - 1_{S_j} theta)^2 + lam sum_i (theta_i - s p_i)^2 / v_i`` with
    respect to theta, the intercept b and the scale s, where ``v_i = |p_i| / mean |p| + 0.05``. With z = X p,
    V = X diag(v) X^T + lam I and P = V^-1 - V^-1 z z^T V^-1 / (z^T V^-1 z), generalised least squares gives

        s = z^T V^-1 y / (z^T V^-1 z),      theta = s p + diag(v) X^T P y,

    and the error at retraining j of the fit to all others is ``(P y)_j / (P_jj - 1 / (m lam))``.

    Args:
        retrainings: retrainings to which the weights are fitted.
        prior: scores p, (n_query, n_train).
        penalty: choice of lam, as in :func:`best_penalty`.
    """
    masks, targets = centred(retrainings)
    p = prior.double()
    p = torch.where(p.abs().amax(1, keepdim=True) > SMALLEST_SQUARE, p, 0.0)
    v = p.abs() / p.abs().mean(1, keepdim=True).clamp_min(torch.finfo(p.dtype).tiny) + _LEAST_VARIANCE
    errors = targets.new_zeros(len(PENALTIES), len(p))
    weights = targets.new_zeros(len(PENALTIES), len(p), len(masks))
    scales = torch.zeros_like(errors)
    for q in range(len(p)):
        covariance = Covariance.of(masks * v[q].sqrt())
        z, y = _sums(masks, p[q])[:, None], targets[:, q, None]
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


def _sums(masks: Tensor, prior: Tensor) -> Tensor:
    """Return ``masks @ prior``, and zeros where nothing is left of it but rounding: the prior is the same for all sums."""
    sums = masks @ prior
    resolved = sums.abs().max() > rounding(sums) * prior.abs().sum()
    return sums if resolved else torch.zeros_like(sums)

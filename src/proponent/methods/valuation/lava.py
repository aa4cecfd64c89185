"""LAVA (Just et al. 2023, "LAVA: data valuation without pre-specified learning algorithms").

How far the training set is from the queries, by optimal transport between examples (h_i, y_i) and queries
(h_q, y_q), each of the same mass:

    cost(i, q) = ||h_i - h_q||^2 + label_weight * W(y_i, y_q)

W is the squared 2-Wasserstein distance of two classes, of training examples and queries, each taken for a
Gaussian. The transport is smoothed by an entropy (``entropy`` times the mean cost), and f_i, the dual variable of
example i, is the rate at which the distance grows with its mass. Mass is taken from all others, so the
calibrated gradient is f_i less the mean of the others' f, and

    value_i = -(f_i - mean of f_j over j != i)

Queries are used together, as the data on which the model should do well, so ``scores[q, i] = value_i`` for every
q, (n_query, n_train): it finds examples that do not belong, and attributes no prediction. Representations are
divided by their root mean square. Cost: Sinkhorn's iterations, each two products with an (n_train, n_query)
matrix; 4500 x 500: 1 to 2 s, and no more memory than a few such matrices.
"""

from __future__ import annotations

import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.methods.shared.needs import Data, Representations

TASKS = ("classification",)

_CHECKED_EVERY = 10
_LARGEST_RATIO = 1e30
"""Of the scalings, at which they are put back into the kernel."""


def attribute(
    data: Data,
    representations: Representations,
    *,
    entropy: float = 0.05,
    label_weight: float = 1.0,
    checkpoint: float = 1.0,
    iterations: int = 5000,
    tolerance: float = 1e-6,
) -> Tensor:
    """Return the value of each example, the same for all queries, (n_query, n_train).

    Args:
        data: for the labels.
        representations: of one member.
        entropy: in units of the mean cost.
        label_weight: of the distance between classes.
        checkpoint: fraction of training.
        iterations: at most so many.
        tolerance: largest relative error of a mass that is left.

    Raises:
        UserError: the transport did not converge.
    """
    pair = representations.at(checkpoint)
    train, query = pair.train.double(), pair.query.double()
    scale = train.square().sum(1).mean().sqrt()
    train, query = train / scale, query / scale
    cost = torch.cdist(train, query).square()
    between = class_distances(train, data.y_train, query, data.y_query)
    cost = cost + label_weight * between[data.y_train][:, data.y_query]
    potential = sinkhorn(cost, entropy * cost.mean().item(), iterations, tolerance)
    n = len(potential)
    values = (potential.sum() - n * potential) / max(n - 1, 1)
    return values.to(pair.train).expand(len(query), -1).clone()


def class_distances(x: Tensor, y: Tensor, x_other: Tensor, y_other: Tensor) -> Tensor:
    """Return the squared 2-Wasserstein distances of classes as Gaussians, (n_classes, n_classes), 0 where one is empty.

    ``||m - m'||^2 + tr A + tr B - 2 tr (A^1/2 B A^1/2)^1/2``. For covariances A = X^T X / n and B the last trace is
    the sum of the singular values of ``X X'^T / sqrt(n n')``, so that no root of a matrix is formed.
    """
    n_classes = int(max(y.max(), y_other.max())) + 1
    ours, theirs = (
        [_centred(features[labels == c]) for c in range(n_classes)]
        for features, labels in ((x, y), (x_other, y_other))
    )
    found = x.new_zeros(n_classes, n_classes)
    for row, (mean, deviations) in enumerate(ours):
        for column, (other_mean, other) in enumerate(theirs):
            if len(deviations) and len(other):
                shared = torch.linalg.svdvals(deviations @ other.T).sum()
                spread = deviations.square().sum() + other.square().sum() - 2 * shared
                found[row, column] = (mean - other_mean).square().sum() + spread.clamp_min(0)
    return found


def _centred(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean, and deviations from it divided by the root of their number."""
    mean = x.mean(0)
    return mean, (x - mean) / max(len(x), 1) ** 0.5


def sinkhorn(cost: Tensor, strength: float, iterations: int, tolerance: float) -> Tensor:
    """Return the dual variables f of the rows, (n,), of the entropic transport between equal masses.

    Maximises ``mean f + mean g - strength * mean_ij exp((f_i + g_j - cost_ij) / strength)``. Sinkhorn's iteration in
    the exponential domain; where an entry runs over, the potentials are put back into the kernel.

    Args:
        cost: (n, m).
        strength: of the entropy, in units of the cost.
        iterations: at most so many.
        tolerance: largest relative error of a row's mass.

    Raises:
        UserError: the error is above the tolerance after so many iterations.
    """
    n, m = cost.shape
    # the first iteration by logarithms: no row or column of the kernel can vanish after it
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
    raise UserError(
        f"lava: the transport has not converged (error {error:.1e}): raise 'entropy' or 'iterations'"
    )

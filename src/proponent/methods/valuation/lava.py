"""LAVA (Just et al. 2023, "LAVA: data valuation without pre-specified learning algorithms").

The distance between the training set and the queries is that of optimal transport between examples (h_i, y_i) and
queries (h_q, y_q), all of the same mass, with

    cost(i, q) = ||h_i - h_q||^2 + label_weight * W(y_i, y_q)

W is the squared 2-Wasserstein distance between two classes, of training examples and of queries, each approximated by a
Gaussian. The transport is regularised by an entropy (``entropy`` times the mean cost). The dual variable f_i of example
i is the derivative of the distance with respect to its mass. Mass is taken from all other examples, so that the
calibrated gradient is f_i minus the mean of the others' f, and

    value_i = -(f_i - mean of f_j over j != i)

All queries together are the data on which the model should do well: ``scores[q, i] = value_i`` for every q. The values
detect examples that do not fit in; they attribute no prediction. Representations are divided by their root mean square.

Shapes: (n_query, n_train). Cost: two products per iteration of Sinkhorn with an (n_train, n_query) matrix, and the memory
of a few such matrices (4500 x 500: 1 to 2 s on 2 CPU cores).
"""

from __future__ import annotations

import torch
from torch import Tensor

from proponent.methods.shared.needs import Data, Representations
from proponent.methods.shared.problem_size import ProblemSize
from proponent.methods.shared.resolution import check_finite, spread_is_rounding
from proponent.methods.shared.solvers.sinkhorn import transport_potentials

TASKS = ("classification",)
RANGES = {"entropy": "(0, inf)", "label_weight": "[0, inf)"}


def attribute(
    data: Data,
    representations: Representations,
    *,
    entropy: float = 0.05,
    label_weight: float = 1.0,
    checkpoint: float = 1.0,
) -> Tensor:
    """Return the value of each example, the same for all queries, (n_query, n_train).

    Args:
        data: examples and queries, of which only the labels are used.
        representations: representations of one member.
        entropy: weight of the entropy, in units of the mean cost.
        label_weight: weight of the distance between classes.
        checkpoint: fraction of training after which the representations are taken.

    Raises:
        UserError: the transport did not converge.
    """
    pair = representations.at(checkpoint)
    train, query = pair.train.double(), pair.query.double()
    check_finite(train, query)
    scale = train.square().sum(1).mean().sqrt()
    if scale > 0:
        train, query = train / scale, query / scale
    cost = torch.cdist(train, query).square()
    between = class_distances(train, data.y_train, query, data.y_query)
    cost = cost + label_weight * between[data.y_train][:, data.y_query]
    if spread_is_rounding(cost.flatten(), 0):
        return pair.train.new_zeros(cost.T.shape)  # every transport costs the same
    potential = transport_potentials(cost, entropy * cost.mean().item())
    n = len(potential)
    values = (potential.sum() - n * potential) / max(n - 1, 1)
    return values.to(pair.train).expand(len(query), -1).clone()


def memory(size: ProblemSize, queries: int) -> float:
    """Return the memory in MiB: the costs, and matrices of Sinkhorn's iterations, in double precision."""
    return size.scores(12)


def class_distances(x: Tensor, y: Tensor, x_other: Tensor, y_other: Tensor) -> Tensor:
    """Return the squared 2-Wasserstein distances between classes as Gaussians, (n_classes, n_classes).

    ``||m - m'||^2 + tr A + tr B - 2 tr (A^1/2 B A^1/2)^1/2``, and 0 where a class is empty. For covariances
    A = X^T X / n and B the last trace is the sum of the singular values of ``X X'^T / sqrt(n n')``, so that no matrix
    square root is computed.

    Args:
        x: points of the first sample, (n, d).
        y: their class indices, (n,).
        x_other: points of the second sample, (m, d).
        y_other: their class indices, (m,).
    """
    n_classes = int(max(y.max(), y_other.max())) + 1
    first, second = (
        [_centred(features[labels == c]) for c in range(n_classes)]
        for features, labels in ((x, y), (x_other, y_other))
    )
    distances = x.new_zeros(n_classes, n_classes)
    for row, (mean, deviations) in enumerate(first):
        for column, (other_mean, other) in enumerate(second):
            if len(deviations) and len(other):
                shared = torch.linalg.svdvals(deviations @ other.T).sum()
                spread = deviations.square().sum() + other.square().sum() - 2 * shared
                distances[row, column] = (mean - other_mean).square().sum() + spread.clamp_min(0)
    return distances


def _centred(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of ``x``, and the deviations from it divided by the square root of their number."""
    mean = x.mean(0)
    return mean, (x - mean) / max(len(x), 1) ** 0.5

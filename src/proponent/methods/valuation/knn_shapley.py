"""KNN-Shapley (Jia et al. 2019, "Efficient task-specific data valuation for nearest neighbor algorithms"), exact.

For each query, the game of a K-nearest-neighbour classifier on the representations,

    v(S) = (1/K) * number of those of the min(K, |S|) nearest examples in S that have the query's label

has Shapley values in closed form (theorem 1). With the examples sorted from near to far, and m_j = 1 where the label of
the j-th is the query's,

    s_n = m_n min(K, n) / (n K),      s_j = s_{j+1} + (m_j - m_{j+1}) min(K, j) / (K j)

``scores[q, i]`` is the value of example i for query q. The values of a query add up to v of all examples, and their
mean over queries is the value for the accuracy of the classifier.

Shapes: (n_query, n_train). Cost: distances and one sort per query, n_query n log n (4500 x 500: 0.2 s on 2 CPU cores).
Of the model, only the representation is used: the values ignore all earlier layers, and what the example changed in
them.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from proponent.methods.shared.needs import Data, Representations
from proponent.methods.shared.problem_size import ProblemSize
from proponent.methods.shared.resolution import unit_rows

TASKS = ("classification",)
RANGES = {"neighbours": "[1, inf)"}


def attribute(
    data: Data,
    representations: Representations,
    *,
    neighbours: int = 10,
    distance: Literal["euclidean", "cosine"] = "euclidean",
    checkpoint: float = 1.0,
) -> Tensor:
    """Return the Shapley values, (n_query, n_train); examples at the same distance are sorted by their index.

    Args:
        data: examples and queries, of which only the labels are used.
        representations: representations of one member; those of a linear model are its inputs.
        neighbours: K.
        distance: distance between representations.
        checkpoint: fraction of training after which the representations are taken.
    """
    pair = representations.at(checkpoint)
    train, query = pair.train, pair.query
    if distance == "cosine":
        train, query = unit_rows(train), unit_rows(query)
    order = _squared_distances(query, train).argsort(dim=1, stable=True)
    match = (data.y_train[order] == data.y_query[:, None]).double()
    return torch.empty_like(match).scatter_(1, order, values_by_rank(match, neighbours)).to(train)


def _squared_distances(query: Tensor, train: Tensor) -> Tensor:
    """Return the squared distances (n_query, n_train), equal for examples that are equal.

    They are computed in float64 from the mean, and rounded to float32: a difference of large squares would order examples
    by its rounding errors.
    """
    mean = train.double().mean(0)
    query, train = query.double() - mean, train.double() - mean
    squares = query.square().sum(1)[:, None] + train.square().sum(1) - 2 * query @ train.T
    return squares.float()


def memory(size: ProblemSize, queries: int) -> float:
    """Return the memory in MiB: the order, and matches and values in double precision, in several copies."""
    return size.scores(16)


def values_by_rank(match: Tensor, neighbours: int) -> Tensor:
    """Return the Shapley values s of examples sorted from near to far, (n_query, n).

    Args:
        match: m, (n_query, n).
        neighbours: K.
    """
    n = match.shape[1]
    rank = torch.arange(1, n + 1, dtype=match.dtype, device=match.device)
    share = rank.clamp_max(neighbours) / (neighbours * rank)
    steps = match * share
    steps[:, :-1] -= match[:, 1:] * share[:-1]
    return steps.flip(1).cumsum(1).flip(1)

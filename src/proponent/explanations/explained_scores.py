"""Explanations from scores: lists of examples per query, and how few of them carry the score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proponent.explanations.carried_score import SHARES, carrying_examples, supporting_examples
from proponent.explanations.explanation_tables import Explanation, Ranked
from proponent.explanations.strongest_examples import nearest_neighbours, random_of_class, strongest

Floats = NDArray[np.floating[Any]]
Labels = NDArray[np.int64]


def explain_scores(
    scores: Floats,
    k: int,
    *,
    classes: Labels | None = None,
    labels: Labels | None = None,
    predicted: Labels | None = None,
    representations: tuple[Floats, Floats] | None = None,
    shares: Sequence[float] = SHARES,
    seed: int = 0,
) -> list[Explanation]:
    """Return the explanation of each query.

    Args:
        scores: (n_query, n_train) scores; positive = proponent.
        k: largest number of examples per list.
        classes: (n_train,) class labels of the training examples; None without classes.
        labels: (n_query,) class labels of the queries; None without classes.
        predicted: (n_query,) predicted classes; None where they are unknown.
        representations: representations of training examples (n_train, d) and queries (n_query, d); None without them.
        shares: shares of the total absolute score of a query.
        seed: seed of the random examples of the class.
    """
    carried, supported = carrying_examples(scores, shares), supporting_examples(scores)

    def of(row: int) -> Explanation:
        own = scores[row]
        label = None if labels is None else int(labels[row])
        alike = None if classes is None or label is None else random_of_class(classes, label, k, seed)
        near = None
        if representations is not None:
            train, query = representations
            near = Ranked(*nearest_neighbours(query[row], train, k))
        proponents, opponents = strongest(own, k)
        return Explanation(
            row,
            label,
            None if predicted is None else int(predicted[row]),
            Ranked(proponents, own[proponents]),
            Ranked(opponents, own[opponents]),
            near,
            None if alike is None else Ranked(alike, own[alike]),
            tuple(shares),
            tuple(int(count) for count in carried[row]),
            int(supported[row]),
        )

    return [of(row) for row in range(len(scores))]

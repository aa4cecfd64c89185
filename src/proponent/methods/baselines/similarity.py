"""Similarity of representations: a training example matters to a query with a similar representation.

``scores[q, i] = s(h_q, h_i)``, where ``h`` is the input of the last linear layer and ``s`` the inner product or the
cosine (Caruana et al. 1999; Hanawa et al. 2021, "Evaluation of similarity-based explanations"). A similarity has no
sign, but a similar example of another class is an opponent. With ``labels="signed"`` the score is therefore negated
where the labels differ.

Shapes: (n_query, n_train). Cost: one product of an (n_query, d) and a (d, n_train) matrix. Fails where representations
have only non-negative entries, as after a ReLU: all examples are then similar, hence proponents.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from proponent.methods.shared.needs import Data, Representations
from proponent.methods.shared.resolution import unit_rows

LABELS_OF_CLASSES = ("signed",)


def attribute(
    data: Data,
    representations: Representations,
    *,
    kind: Literal["cosine", "dot"] = "cosine",
    labels: Literal["ignored", "signed"] = "ignored",
    checkpoint: float = 1.0,
) -> Tensor:
    """Return the similarities, (n_query, n_train).

    Args:
        data: examples and queries, of which only the labels are used.
        representations: representations of one member.
        kind: similarity; ``cosine`` is in [-1, 1], and 0 for a representation of zeros.
        labels: ``signed`` negates the scores of examples whose label differs from the query's (classification).
        checkpoint: fraction of training after which the representations are taken.
    """
    pair = representations.at(checkpoint)
    query, train = pair.query, pair.train
    if kind == "cosine":
        query, train = unit_rows(query), unit_rows(train)
    scores = query @ train.T
    if labels == "signed":
        return torch.where(data.y_query[:, None] == data.y_train[None, :], scores, -scores)
    return scores

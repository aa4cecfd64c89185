"""Similarity of representations: a training example matters to a query that the model sees as alike.

``scores[q, i] = s(h_q, h_i)`` with ``h`` the input of the last linear layer and ``s`` the inner product or
the cosine (Caruana et al. 1999; Hanawa et al. 2021, "Evaluation of similarity-based explanations").
Similarity alone has no sign: an alike example of another class is an opponent. With ``labels="signed"`` the
score is therefore negated where the labels differ. Costs one matrix product of (n_query, d) by (d, n_train).

It fails where representations are all positive, as behind a ReLU: everything is then alike, and a proponent.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from proponent.methods.shared.needs import Data, Representations

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
        data: for the labels.
        representations: of one member.
        kind: the similarity; ``cosine`` is in [-1, 1] and 0 for a representation of zeros.
        labels: ``signed`` makes examples with another label than the query's opponents (classification).
        checkpoint: fraction of training.
    """
    pair = representations.at(checkpoint)
    query, train = pair.query, pair.train
    if kind == "cosine":
        query, train = normalize(query, dim=1), normalize(train, dim=1)
    scores = query @ train.T
    return signed(scores, data) if labels == "signed" else scores


def signed(scores: Tensor, data: Data) -> Tensor:
    """Return similarities (n_query, n_train) negated where the labels differ."""
    return torch.where(data.y_query[:, None] == data.y_train[None, :], scores, -scores)

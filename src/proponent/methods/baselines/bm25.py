"""BM25 (Robertson & Zaragoza 2009, "The probabilistic relevance framework"), a text baseline without a model.

    scores[q, i] = sum over tokens t of q of  idf(t) tf(t, i) / (tf(t, i) + k1 (1 - b + b |i| / mean |i|)),
    idf(t) = ln(1 + (n - df(t) + 1/2) / (df(t) + 1/2))

tf counts a token in example i, df the examples that have it, |i| the tokens of example i. A constant factor
k1 + 1 of the original changes no ranking and is left out. Shapes: (n_query, n_train). Cost: a sparse product,
milliseconds; by the library bm25s. Words are all that it knows: a text of another class with the same words is a
proponent unless ``labels="signed"``.
"""

from __future__ import annotations

from typing import Literal

import bm25s
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from proponent.methods.baselines.similarity import signed
from proponent.methods.shared.needs import Data

INPUTS = "tokens"
LABELS_OF_CLASSES = ("signed",)
PADDING = 0


def attribute(
    data: Data, *, k1: float = 1.5, b: float = 0.75, labels: Literal["ignored", "signed"] = "ignored"
) -> Tensor:
    """Return the BM25 scores, (n_query, n_train).

    Args:
        data: token numbers (n, length), 0 = padding.
        k1: how soon repetitions of a token stop counting.
        b: how much long examples are marked down.
        labels: ``signed`` makes examples with another label than the query's opponents (classification).
    """
    size = int(max(data.x_train.max(), data.x_query.max())) + 1
    index = bm25s.BM25(k1=k1, b=b, method="lucene")
    corpus = ([row.tolist() for row in tokens(data.x_train)], {str(token): token for token in range(size)})
    index.index(corpus, create_empty_token=False, show_progress=False)
    found = np.stack([index.get_scores_from_ids(row.tolist()) for row in tokens(data.x_query)])
    scores = torch.from_numpy(found).to(torch.float32)
    return signed(scores, data) if labels == "signed" else scores


def tokens(x: Tensor) -> list[NDArray[np.int64]]:
    """Return the token numbers of each row, padding left out."""
    return [row[row != PADDING] for row in x.numpy(force=True)]

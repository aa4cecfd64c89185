"""TF-IDF (Salton & Buckley 1988, "Term-weighting approaches in automatic text retrieval"), without a model.

``scores[q, i]`` is the cosine of the token counts of query and example, each count multiplied by ``ln((1 + n) /
(1 + df)) + 1`` of the training examples, (n_query, n_train); by scikit-learn. Cost: one sparse product. Words are
all that it knows: a text of another class with the same words is a proponent unless ``labels="signed"``.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from scipy.sparse import csr_array
from sklearn.feature_extraction.text import TfidfTransformer
from torch import Tensor

from proponent.methods.baselines.bm25 import tokens
from proponent.methods.baselines.similarity import signed
from proponent.methods.shared.needs import Data

INPUTS = "tokens"
LABELS_OF_CLASSES = ("signed",)


def attribute(
    data: Data, *, sublinear: bool = False, labels: Literal["ignored", "signed"] = "ignored"
) -> Tensor:
    """Return the cosines, (n_query, n_train), in [0, 1] unless signed.

    Args:
        data: token numbers (n, length), 0 = padding.
        sublinear: count a token 1 + ln(tf) times.
        labels: ``signed`` makes examples with another label than the query's opponents (classification).
    """
    size = int(max(data.x_train.max(), data.x_query.max())) + 1
    train, query = _counts(data.x_train, size), _counts(data.x_query, size)
    weighting = TfidfTransformer(sublinear_tf=sublinear).fit(train)
    found = weighting.transform(query) @ weighting.transform(train).T
    scores = torch.from_numpy(found.toarray()).to(torch.float32)
    return signed(scores, data) if labels == "signed" else scores


def _counts(x: Tensor, size: int) -> csr_array:
    """Return how often each token is in each row, (n, size)."""
    rows = tokens(x)
    ends = np.cumsum([0, *map(len, rows)])
    found = csr_array((np.ones(ends[-1]), np.concatenate(rows), ends), shape=(len(rows), size))
    found.sum_duplicates()
    return found

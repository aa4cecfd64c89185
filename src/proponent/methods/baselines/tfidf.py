"""TF-IDF (Salton & Buckley 1988, "Term-weighting approaches in automatic text retrieval"), without a model.

``scores[q, i]`` is the cosine between the token counts of query and example, each count multiplied by
``ln((1 + n) / (1 + df)) + 1``, where df is the number of the n training examples that contain the token.

Shapes: (n_query, n_train). Cost: one sparse product, computed by scikit-learn. TF-IDF sees nothing but words: a text of
another class with the same words is a proponent unless ``labels="signed"``.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.feature_extraction.text import TfidfTransformer

from proponent.methods.shared.array_needs import ArrayData, ArrayRows
from proponent.methods.shared.token_rows import negate_across_labels, vocabulary_size, without_padding

ARRAYS = "numpy"
INPUTS = "tokens"
LABELS_OF_CLASSES = ("signed",)


def attribute(
    data: ArrayData, *, sublinear: bool = False, labels: Literal["ignored", "signed"] = "ignored"
) -> NDArray[np.float32]:
    """Return the cosines, (n_query, n_train), in [0, 1] unless signed.

    Args:
        data: token numbers (n, length), 0 = padding or with an attention mask, and labels.
        sublinear: replace the count tf of a token by 1 + ln(tf).
        labels: ``signed`` negates the scores of examples whose label differs from the query's (classification).
    """
    size = vocabulary_size(data)
    train, query = _counts(data.x_train, size), _counts(data.x_query, size)
    weighting = TfidfTransformer(sublinear_tf=sublinear).fit(train)
    cosines = weighting.transform(query) @ weighting.transform(train).T
    scores = cosines.toarray().astype(np.float32)
    return negate_across_labels(scores, data) if labels == "signed" else scores


def _counts(x: ArrayRows, size: int) -> csr_array:
    """Return the number of times each token occurs in each row of ``x``, (n, size)."""
    rows = without_padding(x)
    ends = np.cumsum([0, *map(len, rows)])
    counts = csr_array((np.ones(ends[-1]), np.concatenate(rows), ends), shape=(len(rows), size))
    counts.sum_duplicates()
    return counts

"""BM25 (Robertson & Zaragoza 2009, "The probabilistic relevance framework"), a text baseline without a model.

    scores[q, i] = sum over tokens t of q of  idf(t) tf(t, i) / (tf(t, i) + k1 (1 - b + b |i| / mean |i|)),
    idf(t) = ln(1 + (n - df(t) + 1/2) / (df(t) + 1/2))

tf is the number of times a token occurs in example i, df the number of examples that contain it, and |i| the number of
tokens of example i. The constant factor k1 + 1 of the original changes no ranking and is left out.

Shapes: (n_query, n_train). Cost: a sparse product, milliseconds, computed by the library bm25s. BM25 sees nothing but
words: a text of another class with the same words is a proponent unless ``labels="signed"``.
"""

from __future__ import annotations

from typing import Literal

import bm25s
import numpy as np
from numpy.typing import NDArray

from proponent.methods.shared.array_needs import ArrayData
from proponent.methods.shared.token_rows import negate_across_labels, vocabulary_size, without_padding

ARRAYS = "numpy"
INPUTS = "tokens"
LABELS_OF_CLASSES = ("signed",)
RANGES = {"k1": "[0, inf)", "b": "[0, 1]"}


def attribute(
    data: ArrayData, *, k1: float = 1.5, b: float = 0.75, labels: Literal["ignored", "signed"] = "ignored"
) -> NDArray[np.float32]:
    """Return the BM25 scores, (n_query, n_train).

    Args:
        data: token numbers (n, length), 0 = padding or with an attention mask, and labels.
        k1: saturation; the larger it is, the more further repetitions of a token count.
        b: share of the correction for the length of an example, from 0 (none) to 1.
        labels: ``signed`` negates the scores of examples whose label differs from the query's (classification).
    """
    index = bm25s.BM25(k1=k1, b=b, method="lucene")
    rows = [row.tolist() for row in without_padding(data.x_train)]
    vocabulary = {str(token): token for token in range(vocabulary_size(data))}
    index.index((rows, vocabulary), create_empty_token=False, show_progress=False)
    queries = [row.tolist() for row in without_padding(data.x_query)]
    scores = np.stack([index.get_scores_from_ids(row) for row in queries]).astype(np.float32)
    return negate_across_labels(scores, data) if labels == "signed" else scores

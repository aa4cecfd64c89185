"""Similarities by scikit-learn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics.pairwise import cosine_similarity, linear_kernel

KINDS = {"cosine": cosine_similarity, "dot": linear_kernel}


def similarity(query: NDArray[np.float64], train: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    """Return the similarities, (n_query, n_train)."""
    return KINDS[kind](query, train)

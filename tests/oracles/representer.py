"""The regularised last layer by scikit-learn, in the parametrisation of the representer theorem."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

Matrix = NDArray[np.float64]


def last_layer(features: Matrix, labels: NDArray[np.int64], lam: float) -> Matrix:
    """Return W, (d, n_classes), the minimum of the mean cross-entropy + lam ||W||_F^2.

    With two classes scikit-learn keeps one vector v = w_1 - w_0; at the minimum w_1 = -w_0 = v / 2, and then
    ||W||^2 = ||v||^2 / 2.
    """
    n, n_classes = len(features), len(np.unique(labels))
    strength = 1 / (lam * n) if n_classes == 2 else 1 / (2 * lam * n)
    model = LogisticRegression(
        C=strength, fit_intercept=False, solver="newton-cg", tol=1e-12, max_iter=10_000
    )
    weights = model.fit(features, labels).coef_.T
    return np.hstack([-weights / 2, weights / 2]) if n_classes == 2 else weights

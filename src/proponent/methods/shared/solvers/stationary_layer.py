"""Last layer at a stationary point of its regularised cross-entropy, as a sum over the training examples.

The minimiser is SciPy's trust-region Newton method with conjugate gradients. scikit-learn's ``LogisticRegression``
minimises the same objective but keeps a single vector for two classes, where the sum over examples needs one vector per
class, and its tolerance is absolute, whereas the error of the sum is the gradient divided by the regularisation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

from proponent.errors import UserError

_STATIONARY = 1e-6
"""Largest error of the decomposition of W, relative to its largest entry."""

Matrix = NDArray[np.float64]


def stationary_layer(features: Matrix, targets: Matrix, lam: float) -> Matrix:
    """Return alpha, (n, n_classes), with ``W = sum_i h_i alpha_i^T`` the minimum of the objective below.

    The objective is ``(1/n) sum_i CE(W^T h_i, y_i) + lam ||W||_F^2``.

    Args:
        features: representations h, (n, d).
        targets: one-hot labels, (n, n_classes).
        lam: weight of ``||W||_F^2``, above 0.

    Raises:
        UserError: W and its decomposition differ by more than 1e-6 of the largest entry of W.
    """
    n, n_classes = targets.shape

    def log_probabilities(w: Matrix) -> Matrix:
        return log_softmax(features @ w.reshape(-1, n_classes), axis=1)

    def objective(w: Matrix) -> tuple[float, Matrix]:
        logs = log_probabilities(w)
        slope = features.T @ (np.exp(logs) - targets) / n
        return -(targets * logs).sum() / n + lam * (w @ w), slope.ravel() + 2 * lam * w

    def hessian_product(w: Matrix, direction: Matrix) -> Matrix:
        p = np.exp(log_probabilities(w))
        moved = p * (features @ direction.reshape(-1, n_classes))
        return (features.T @ (moved - p * moved.sum(1, keepdims=True)) / n).ravel() + 2 * lam * direction

    start = np.zeros(features.shape[1] * n_classes)
    options = {"gtol": 1e-8 * lam, "maxiter": 500}
    w = minimize(objective, start, jac=True, hessp=hessian_product, method="trust-ncg", options=options).x
    alpha = (targets - np.exp(log_probabilities(w))) / (2 * lam * n)
    # the gradient at w is 2 lam times the error of the decomposition
    largest = np.abs(w).max()
    if largest == 0:  # a single class, of which every prediction is certain
        return alpha
    error = np.abs(features.T @ alpha - w.reshape(-1, n_classes)).max() / largest
    if not error <= _STATIONARY:
        raise UserError(
            f"the last layer is not stationary (relative error {error:.1e}): "
            f"raise 'regularisation' above {lam:g}, or use representations of smaller scale"
        )
    return alpha

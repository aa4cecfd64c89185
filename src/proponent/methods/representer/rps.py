"""Representer points (Yeh et al. 2018, "Representer point selection for explaining deep neural networks").

Keep the network's representations h (with a 1 appended for the bias) and fit its last layer W anew to
stationarity of

    (1/n) sum_i CE(W^T h_i, y_i) + lam ||W||_F^2

Setting the gradient to zero writes the layer, hence every logit, as a sum over the training examples:

    W = sum_i h_i alpha_i^T,   alpha_i = (onehot(y_i) - p_i) / (2 lam n),   scores[q, i] = alpha_i[c] <h_i,
    h_q>

with c the query's label, so that ``sum_i scores[q, i]`` is the refitted logit of c. Shapes: (n_query,
n_train). Cost: a convex fit in float64 by trust-region Newton with conjugate gradients (4500 x 785 and 10
classes: 5 s at lam = 1e-4, less above), then one matrix product. It explains classes more than examples, and
ignores all layers before the last.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax
from torch import Tensor

from proponent.errors import UserError
from proponent.methods.shared.needs import Data, RepresentationPair, Representations
from proponent.methods.shared.solvers import keep

TASKS = ("classification",)

_STATIONARY = 1e-6
"""Largest error of the decomposition of W, relative to its largest entry."""

Matrix = NDArray[np.float64]


def attribute(
    data: Data, representations: Representations, *, regularisation: float = 0.003, checkpoint: float = 1.0
) -> Tensor:
    """Return the representer values, (n_query, n_train).

    Args:
        data: for the labels.
        representations: of one member.
        regularisation: lam.
        checkpoint: fraction of training.

    Raises:
        UserError: the fit stopped before it was stationary.
    """
    pair = representations.at(checkpoint)
    alpha = _alpha(pair, data.y_train, regularisation)
    inner = _with_bias(pair.query) @ _with_bias(pair.train).T
    return alpha[:, data.y_query].T * inner


def self_influence(
    data: Data, representations: Representations, *, regularisation: float = 0.003, checkpoint: float = 1.0
) -> Tensor:
    """Return ``|alpha_i|`` at each training example's own label, (n_train,): how hard it is to fit."""
    alpha = _alpha(representations.at(checkpoint), data.y_train, regularisation)
    return alpha.gather(1, data.y_train[:, None])[:, 0].abs()


def _alpha(pair: RepresentationPair, labels: Tensor, lam: float) -> Tensor:
    """Return alpha, (n_train, n_classes), in the dtype of the representations."""

    def make() -> Tensor:
        features = _with_bias(pair.train).double().numpy(force=True)
        targets = torch.nn.functional.one_hot(labels).double().numpy(force=True)
        alpha = fit(features, targets, lam)
        return torch.from_numpy(alpha).to(pair.train)

    return keep(pair, lam, make)


def fit(features: Matrix, targets: Matrix, lam: float) -> Matrix:
    """Return alpha of the stationary last layer, (n, c).

    Args:
        features: h, (n, d).
        targets: one-hot labels, or probabilities, (n, c).
        lam: weight of ``||W||_F^2``, above 0.

    Raises:
        UserError: W and its decomposition differ by more than 1e-6 of its largest entry.
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
    # the gradient at w is 2 lam times what the decomposition misses
    error = np.abs(features.T @ alpha - w.reshape(-1, n_classes)).max() / np.abs(w).max()
    if not error <= _STATIONARY:
        raise UserError(
            f"rps: the last layer is not stationary (relative error {error:.1e}): "
            f"raise 'regularisation' above {lam:g}"
        )
    return alpha


def _with_bias(representations: Tensor) -> Tensor:
    return torch.cat([representations, representations.new_ones(len(representations), 1)], dim=1)

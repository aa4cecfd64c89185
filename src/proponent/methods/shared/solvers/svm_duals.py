"""Dual variables of a multiclass SVM.

(Crammer & Singer 2001, "On the algorithmic implementation of multiclass kernel-based vector machines".)

LIBLINEAR, on which scikit-learn's ``LinearSVC(multi_class="crammer_singer")`` is built, finds the layer, but discards the
dual variables. Those of most examples follow from the layer: 0 outside the margin, and at the bound inside of it. The
others, for which two classes are as close as the tolerance, are found here by accelerated projected gradients.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from proponent.errors import UserError

_TOLERANCE = 1e-4
"""Largest violation of the optimality conditions, in units of the margin, which is 1."""
_START_TOLERANCE = 1e-3
"""Tolerance of the library's layer."""
_BAND = 3 * _START_TOLERANCE
"""Difference of the two largest margins below which they count as equal."""
_ROUNDS = 50
"""Largest number of rounds; each solves for more examples than the one before."""
_STEPS = 20_000
"""Largest number of gradient steps in a round."""
_LOOK = 10
"""Steps between two computations of the violation."""
_ROUNDING = 1e-12
"""Share of C below which an example is not a support vector."""

Matrix = NDArray[np.float64]


def multiclass_svm_duals(
    features: Matrix,
    labels: NDArray[np.int64],
    bound: float,
    n_classes: int | None = None,
    rounds: int = _ROUNDS,
    tolerance: float = _TOLERANCE,
) -> Matrix:
    """Return the dual variables alpha of the SVM of Crammer and Singer, (n, n_classes).

    The dual is ``min ||sum_i h_i alpha_i^T||^2 / 2 - sum_i alpha_i[y_i]`` subject to ``sum_c alpha_i[c] = 0`` and
    ``alpha_i <= C onehot(y_i)``. A round solves it for the examples that may have another alpha than that which follows
    from the library's layer, all others fixed; the next round adds those that violate their optimality conditions then.

    Args:
        features: representations h, (n, d).
        labels: class indices, (n,).
        bound: C.
        n_classes: number of classes; by default, up to the largest label.
        rounds: largest number of rounds.
        tolerance: largest violation of the solution, where the margin is 1.

    Raises:
        UserError: the violation exceeds the tolerance after ``rounds``.
    """
    n_classes = n_classes or int(labels.max()) + 1
    if n_classes == 1:
        return np.zeros((len(features), 1))  # the only vector whose sum is 0
    onehot = np.eye(n_classes)[labels]
    upper = bound * onehot
    slope = features @ _layer(features, labels, bound, n_classes).T + 1 - onehot
    alpha = bound * (onehot - np.eye(n_classes)[slope.argmax(1)])
    largest = np.sort(slope, axis=1)[:, -2:]
    open_ = largest[:, 1] - largest[:, 0] < _BAND
    worst = np.inf
    for _ in range(rounds):
        own, constant = features[open_], features[~open_].T @ alpha[~open_]
        linear = own @ constant + 1 - onehot[open_]
        alpha[open_] = _minimum(own, linear, upper[open_], alpha[open_], tolerance / 2)
        violation = _violation(features @ (features.T @ alpha) + 1 - onehot, alpha, upper)
        worst = violation.max(initial=0.0)
        if worst <= tolerance:
            alpha[alpha.max(1) < _ROUNDING * bound] = 0.0
            return alpha
        open_ |= violation > tolerance / 10
    raise UserError(
        f"the multiclass SVM has not converged after {rounds} rounds (violation {worst:.1e}): lower 'cost'"
    )


def nearest_feasible(points: Matrix, upper: Matrix) -> Matrix:
    """Return for each row (m, c) the nearest vector whose sum is 0 and whose entries are at most ``upper`` (m, c).

    The solution is ``min(point - shift, upper)`` with the shift that makes the sum 0. With ``excess = point - upper``, the
    entries whose excess is above the shift are at their bound, so that the shift is found among the sorted excesses.
    """
    ordered = np.sort(points - upper, axis=1)
    # if the k smallest entries are free, their sum minus k shifts plus the sum of all bounds is 0
    shifts = (np.cumsum(ordered, axis=1) + upper.sum(1, keepdims=True)) / np.arange(1, points.shape[1] + 1)
    last = np.count_nonzero(ordered < shifts, axis=1, keepdims=True) - 1
    nearest: Matrix = np.minimum(points - np.take_along_axis(shifts, last, axis=1), upper)
    return nearest


def _layer(features: Matrix, labels: NDArray[np.int64], bound: float, n_classes: int) -> Matrix:
    """Return the library's layer, (n_classes, d), of which only a good start is asked.

    An example with representation 0 has the same loss for every layer; one for each class lets the library know them all.
    """
    model = LinearSVC(
        C=bound,
        multi_class="crammer_singer",
        fit_intercept=False,
        tol=_START_TOLERANCE,
        random_state=0,
        max_iter=10_000,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(
            np.concatenate([features, np.zeros((n_classes, features.shape[1]))]),
            np.concatenate([labels, np.arange(n_classes)]),
        )
    layer: Matrix = model.coef_
    return (
        np.concatenate([-layer, layer]) / 2 if n_classes == 2 else layer
    )  # of two, the difference is returned


def _minimum(features: Matrix, linear: Matrix, upper: Matrix, start: Matrix, tolerance: float) -> Matrix:
    """Return the feasible alpha (m, c) that minimises ``||features^T alpha||^2 / 2 + sum(linear * alpha)``.

    Accelerated projected gradients (Beck & Teboulle 2009, FISTA) that start again where they go uphill (O'Donoghue &
    Candès 2015). The last iterate is returned if the violation stays above the tolerance.

    Args:
        features: representations, (m, d).
        linear: linear part, (m, c).
        upper: upper bounds, (m, c).
        start: feasible alpha, (m, c).
        tolerance: largest violation.
    """
    if not len(features):
        return start
    m, d = features.shape
    rate = 1 / np.linalg.eigvalsh(features.T @ features if d < m else features @ features.T)[-1]
    found = ahead = start
    momentum = 1.0
    for step in range(_STEPS):
        new = nearest_feasible(ahead - rate * (features @ (features.T @ ahead) + linear), upper)
        if step % _LOOK == 0:
            slope = features @ (features.T @ new) + linear
            if _violation(slope, new, upper).max() <= tolerance:
                return new
        if ((ahead - new) * (new - found)).sum() > 0:
            momentum, ahead = 1.0, new
        else:
            following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            ahead, momentum = new + (momentum - 1) / following * (new - found), following
        found = new
    return found


def _violation(slope: Matrix, alpha: Matrix, upper: Matrix) -> Matrix:
    """Return by how much the optimality conditions of each example are violated, (n,).

    An example can decrease the variable of any class, and increase it only below the bound.
    """
    violation: Matrix = slope.max(1) - np.where(alpha < upper, slope, np.inf).min(1)
    return violation

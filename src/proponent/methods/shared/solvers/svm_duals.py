"""Dual variables of a multiclass SVM by sequential dual descent.

(Crammer & Singer 2001, "On the algorithmic implementation of multiclass kernel-based vector machines"; Keerthi et al.
2008, "A sequential dual method for large scale multi-class linear SVMs".)

No library is used because none returns the dual variables: LIBLINEAR, on which scikit-learn's
``LinearSVC(multi_class="crammer_singer")`` is built, computes them and discards them. The layer that follows from the
duals is the one of scikit-learn (tests/methods/test_dualda.py).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proponent.errors import UserError
from proponent.seeds import derive_seed

_TOLERANCE = 1e-4
"""Largest violation of the optimality conditions, in units of the margin, which is 1."""
_ROUNDS = 500
"""Largest number of rounds."""
_SWEEPS = 5
"""Sweeps over the violating examples before the violations of all examples are computed again."""
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
    ``alpha_i <= C onehot(y_i)``. One update solves it exactly for one example, all others fixed. One round finds the
    examples that violate their optimality conditions and sweeps over these alone, in random order.

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
    n, n_classes = len(features), n_classes or int(labels.max()) + 1
    onehot = np.eye(n_classes)[labels]
    upper = bound * onehot
    alpha, weights = np.zeros((n, n_classes)), np.zeros((n_classes, features.shape[1]))
    squares = (features**2).sum(1)
    generator = np.random.default_rng(derive_seed(0, "dualda"))
    worst = np.inf
    for _ in range(rounds):
        slope = features @ weights.T + 1 - onehot
        # an example can decrease the variable of any class, and increase it only below the bound
        violation = slope.max(1) - np.where(alpha < upper, slope, np.inf).min(1)
        worst = violation.max(initial=0.0)
        if worst <= tolerance:
            return alpha
        active = np.flatnonzero(violation > 0.1 * tolerance)
        for _ in range(_SWEEPS):
            for i in generator.permutation(active):
                h, old = features[i], alpha[i]
                target = old * squares[i] - (weights @ h + 1 - onehot[i])
                new = nearest_feasible(target / squares[i], int(labels[i]), bound)
                weights += (new - old)[:, None] * h
                alpha[i] = new
        weights = alpha.T @ features  # removes the accumulated rounding errors
    raise UserError(
        f"the multiclass SVM has not converged after {rounds} rounds (violation {worst:.1e}): lower 'cost'"
    )


def nearest_feasible(point: Matrix, label: int, bound: float) -> Matrix:
    """Return the nearest vector to ``point`` whose sum is 0 and whose entries are at most the upper bounds.

    The upper bound is ``bound`` at ``label`` and 0 elsewhere. The solution is ``min(point - shift, upper)`` with the
    shift that makes the sum 0. With ``excess = point - upper``, the entries whose excess is above the shift are at
    their bound, so that the shift is found among the sorted excesses.
    """
    upper = np.zeros_like(point)
    upper[label] = bound
    excess = point - upper
    ordered = np.sort(excess)
    # if the k smallest entries are free, their sum minus k shifts plus the sum of all bounds is 0
    shifts = (np.cumsum(ordered) + bound) / np.arange(1, len(point) + 1)
    free = int(np.count_nonzero(ordered < shifts))
    nearest: Matrix = np.minimum(point - shifts[free - 1], upper)
    if nearest[label] < _ROUNDING * bound:
        nearest[:] = 0.0
    return nearest

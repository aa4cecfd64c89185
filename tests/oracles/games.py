"""Values of a game by their definitions over all subsets, and regressions by other libraries."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy.special import beta as beta_function
from sklearn.linear_model import Lasso

Array = NDArray[np.float64]


def all_subsets(n: int) -> NDArray[np.bool_]:
    """Return every mask over n examples, (2^n, n); row k is the binary number k."""
    return (np.arange(2**n)[:, None] >> np.arange(n)) % 2 == 1


def semivalue(values: Array, weight_of_size: Array) -> Array:
    """Return sum over S without i of weight[|S|] * (v(S + i) - v(S)), for each i.

    Args:
        values: value of every subset, (2^n,), in the order of :func:`all_subsets`.
        weight_of_size: weight per number of other players in the subset, (n,).
    """
    n = len(weight_of_size)
    result = np.zeros(n)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        for size in range(n):
            for subset in combinations(others, size):
                without = sum(1 << j for j in subset)
                result[i] += weight_of_size[size] * (values[without | 1 << i] - values[without])
    return result


def banzhaf(values: Array, n: int) -> Array:
    """Return the Banzhaf values."""
    return semivalue(values, np.full(n, 0.5 ** (n - 1)))


def beta_shapley(values: Array, n: int, alpha: float, beta: float) -> Array:
    """Return the Beta(alpha, beta) Shapley values (Kwon & Zou 2022, theorem 2); alpha = beta = 1 is Shapley's."""
    share = [
        comb(n - 1, j - 1) * beta_function(j + beta - 1, n - j + alpha) / beta_function(alpha, beta)
        for j in range(1, n + 1)
    ]
    return semivalue(values, np.array([share[k] / comb(n - 1, k) for k in range(n)]))


def ridge(masks: Array, targets: Array, lam: float, prior: Array | None = None) -> Array:
    """Return theta of ``sum (y - b - X theta)^2 + lam ||theta - s prior||^2``: normal equations in b, s, theta - s prior."""
    m, n = masks.shape
    design = np.column_stack([np.ones(m), masks @ prior if prior is not None else np.zeros(m), masks])
    penalty = np.diag([0.0, 0.0, *[lam] * n])
    solution = np.linalg.lstsq(design.T @ design + penalty, design.T @ targets, rcond=None)[0]
    return solution[2:] + (0 if prior is None else solution[1] * prior)


def ridge_left_out(masks: Array, targets: Array, lam: float, prior: Array | None = None) -> Array:
    """Return the error at each row of the ridge fit to all other rows, from m fits."""
    missed = []
    for row in range(len(masks)):
        rest = np.arange(len(masks)) != row
        theta = ridge(masks[rest], targets[rest], lam, prior)
        intercept = (targets[rest] - masks[rest] @ theta).mean()
        missed.append(targets[row] - intercept - masks[row] @ theta)
    return np.array(missed)


def lasso(masks: Array, targets: Array, alpha: float) -> Array:
    """Return the weights of scikit-learn's LASSO."""
    return Lasso(alpha=alpha, tol=1e-12, max_iter=100_000).fit(masks, targets).coef_

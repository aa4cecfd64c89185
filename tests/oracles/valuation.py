"""Optimal transport as a linear programme, and out-of-bag values by all bootstrap samples."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import sqrtm
from scipy.optimize import linprog
from sklearn.tree import DecisionTreeClassifier

Array = NDArray[np.float64]


def transport(cost: Array, mass: Array | None = None) -> tuple[float, Array]:
    """Return the least cost of moving ``mass`` (uniform by default) to uniform masses, and the rows' dual variables."""
    n, m = cost.shape
    rows = np.full(n, 1 / n) if mass is None else mass
    constraints = np.vstack([np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))])
    # the last constraint follows from the others
    done = linprog(
        cost.ravel(), A_eq=constraints[:-1], b_eq=np.r_[rows, np.full(m, 1 / m)][:-1], method="highs"
    )
    return float(done.fun), done.eqlin.marginals[:n]


def gaussian_distance(x: Array, other: Array) -> float:
    """Return the squared 2-Wasserstein distance between two samples as Gaussians, by matrix square roots."""
    a, b = np.cov(x.T, bias=True), np.cov(other.T, bias=True)
    root = sqrtm(a).real
    cross = np.trace(sqrtm(root @ b @ root).real)
    return float(((x.mean(0) - other.mean(0)) ** 2).sum() + np.trace(a) + np.trace(b) - 2 * cross)


def out_of_bag(features: Array, labels: NDArray[np.int64]) -> Array:
    """Return the probability that a tree on a bootstrap sample without the example is correct, from all n^n samples."""
    n = len(features)
    right, count = np.zeros(n), np.zeros(n)
    for drawn in product(range(n), repeat=n):
        out = np.setdiff1d(np.arange(n), drawn)
        if len(out):
            tree = DecisionTreeClassifier(random_state=0).fit(features[list(drawn)], labels[list(drawn)])
            right[out] += tree.predict(features[out]) == labels[out]
            count[out] += 1
    return right / count

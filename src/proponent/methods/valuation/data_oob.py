"""Data-OOB (Kwon & Zou 2023, "Data-OOB: out-of-bag estimate as a simple and efficient data value").

Decision trees are fitted to bootstrap samples of the representations of the training examples. The value of an example
is the share of correct predictions among the trees whose sample does not contain it:

    value_i = sum_b 1[i not in sample b] 1[f_b(h_i) = y_i] / sum_b 1[i not in sample b]

The value does not depend on the queries, ``scores[q, i] = value_i`` for every q: it detects wrong labels and attributes
no prediction. A sample leaves out 37 % of the examples, so that 200 trees give a standard error of at most .06.

Shapes: (n_query, n_train). Cost: the trees (4500 x 64: 10 ms per tree, 784 features: 40 ms, on one CPU core).
scikit-learn's forests report the mean class probabilities of the out-of-bag trees instead of their votes, so that the
trees are fitted one by one here.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor

from proponent.methods.shared.needs import Data, Representations
from proponent.seeds import derive_seed

TASKS = ("classification",)
RANGES = {"trees": "[1, inf)"}


def attribute(
    data: Data, representations: Representations, *, trees: int = 200, checkpoint: float = 1.0, seed: int = 0
) -> Tensor:
    """Return the value of each example, the same for all queries, (n_query, n_train).

    Args:
        data: examples and queries, of which only the labels are used.
        representations: representations of one member.
        trees: number of bootstrap samples, with one tree per sample.
        checkpoint: fraction of training after which the representations are taken.
        seed: seed of the samples, and of the features that a split considers (the square root of their number).
    """
    features = representations.at(checkpoint).train.numpy(force=True)
    values = out_of_bag(features, data.y_train.numpy(force=True), trees, seed, "sqrt")
    return torch.from_numpy(values).float().expand(len(data.y_query), -1).clone()


def out_of_bag(
    features: NDArray[np.floating],
    labels: NDArray[np.int64],
    trees: int,
    seed: int,
    features_per_split: str | None = None,
) -> NDArray[np.float64]:
    """Return the share of correct trees among those whose sample does not contain the example, (n,).

    An example that is in every sample gets the mean of the others, because nothing is known about it.

    Args:
        features: features of the examples, (n, d).
        labels: class indices, (n,).
        trees: number of bootstrap samples.
        seed: seed of the samples and of the trees.
        features_per_split: number of features that a split considers, as ``max_features`` of scikit-learn.
    """
    n = len(features)
    right, count = np.zeros(n), np.zeros(n)
    for tree in range(trees):
        generator = np.random.default_rng(derive_seed(seed, "data-oob", tree))
        drawn = np.bincount(generator.integers(n, size=n), minlength=n)
        out = np.flatnonzero(drawn == 0)
        if len(out) == 0:
            continue
        model = DecisionTreeClassifier(
            max_features=features_per_split, random_state=int(generator.integers(2**31 - 1))
        )
        inside = drawn > 0
        model.fit(features[inside], labels[inside], sample_weight=drawn[inside])
        right[out] += model.predict(features[out]) == labels[out]
        count[out] += 1
    known = count > 0
    values = np.divide(right, count, out=np.zeros(n), where=known)
    values[~known] = values[known].mean() if known.any() else 0.0
    return values

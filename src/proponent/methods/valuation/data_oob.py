"""Data-OOB (Kwon & Zou 2023, "Data-OOB: out-of-bag estimate as a simple and efficient data value").

Decision trees are fitted to bootstrap samples of the training examples, as the network represents them. An
example is worth how often the trees that did not see it are right about it:

    value_i = sum_b 1[i not in sample b] 1[f_b(h_i) = y_i] / sum_b 1[i not in sample b]

Queries play no part, so ``scores[q, i] = value_i`` for every q, (n_query, n_train): a value of the data, which
finds wrong labels, and no attribution of a prediction. A sample leaves out 37 % of the examples, so 200 trees
leave a standard error of .06 at most. Cost: the trees (4500 x 64: 10 ms each, 784 features: 40 ms).
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


def attribute(
    data: Data, representations: Representations, *, trees: int = 200, checkpoint: float = 1.0, seed: int = 0
) -> Tensor:
    """Return the value of each example, the same for all queries, (n_query, n_train).

    Args:
        data: for the labels.
        representations: of one member.
        trees: number of bootstrap samples.
        checkpoint: fraction of training.
        seed: of the samples and of the features that a split considers (the square root of all).
    """
    features = representations.at(checkpoint).train.numpy(force=True)
    values = out_of_bag(features, data.y_train.numpy(force=True), trees, seed, "sqrt")
    return torch.from_numpy(values).float().expand(len(data.y_query), -1).clone()


def out_of_bag(
    features: NDArray[np.floating],
    labels: NDArray[np.int64],
    trees: int,
    seed: int,
    features_a_split: str | None = None,
) -> NDArray[np.float64]:
    """Return the share of trees that are right among those that did not see the example, (n,).

    An example that all trees saw has the mean of the others: nothing is known of it.
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
            max_features=features_a_split, random_state=int(generator.integers(2**31 - 1))
        )
        inside = drawn > 0
        model.fit(features[inside], labels[inside], sample_weight=drawn[inside])
        right[out] += model.predict(features[out]) == labels[out]
        count[out] += 1
    known = count > 0
    values = np.divide(right, count, out=np.zeros(n), where=known)
    values[~known] = values[known].mean() if known.any() else 0.0
    return values

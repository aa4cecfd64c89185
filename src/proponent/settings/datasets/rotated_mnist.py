"""MNIST-5k in two parts, upright and turned, for training in stages."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proponent.settings.datasets import mnist5k
from proponent.settings.split import Split


def rotated_mnist5k(n_train: int = 4500, seed: int = 0) -> Split:
    """Return MNIST-5k, whose second half of training examples and every second query are turned by 90 degrees.

    Args:
        n_train: number of training examples, below 5,000; the first ``ceil(n_train / 2)`` are upright.
        seed: seed of the shuffle.

    Raises:
        UserError: there are at most ``n_train`` images.
    """
    split = mnist5k(n_train, seed)
    (x, y), (x_query, y_query) = split.train, split.query
    split.train = (_turned(x, np.arange(n_train) >= -(-n_train // 2)), y)
    split.query = (_turned(x_query, np.arange(len(x_query)) % 2 == 1), y_query)
    return split


def _turned(x: NDArray[np.float32], chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return flat images (n, 784), of which the chosen ones are turned counter-clockwise, pixel by pixel."""
    images = x.reshape(-1, 28, 28).copy()
    images[chosen] = np.rot90(images[chosen], axes=(1, 2))
    return images.reshape(x.shape)

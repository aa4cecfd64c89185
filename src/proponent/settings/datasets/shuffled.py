"""Examples of one file, shuffled into a training part and queries."""

from __future__ import annotations

import numpy as np

from proponent.errors import UserError
from proponent.settings.split import Split


def shuffled_split(
    x: np.ndarray,
    y: np.ndarray,
    n_train: int,
    seed: int,
    *,
    card: str,
    class_names: list[str] | None = None,
    image_shape: tuple[int, ...] | None = None,
) -> Split:
    """Return a random part of the examples for training, and the others as queries.

    Args:
        x: (n, …) inputs, stored in float32.
        y: (n,) labels, stored in int64.
        n_train: number of training examples, below n.
        seed: seed of the shuffle.
        card: name of the dataset's card.
        class_names: names of the labels.
        image_shape: shape of an image, if a row of ``x`` is one.

    Raises:
        UserError: ``n_train`` is not between 1 and n - 1.
    """
    if not 0 < n_train < len(x):
        raise UserError(f"dataset.args.n_train must lie between 1 and {len(x) - 1}, not {n_train}")
    order = np.random.default_rng(seed).permutation(len(x))
    x, y = x[order].astype(np.float32), y[order].astype(np.int64)
    return Split(
        train=(x[:n_train], y[:n_train]),
        query=(x[n_train:], y[n_train:]),
        class_names=class_names,
        image_shape=image_shape,
        card=card,
    )

"""Tables of numbers for regression: shuffled, split and standardised."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proponent.errors import UserError
from proponent.settings.split import Split


def standardised_split(
    x: NDArray[np.float64], y: NDArray[np.float64], n_train: int, seed: int, *, card: str
) -> Split:
    """Return a shuffled table whose training part has mean 0 and deviation 1 in every column.

    Args:
        x: (n, columns) numbers.
        y: (n,) numbers to predict.
        n_train: number of training examples; the other examples are queries.
        seed: seed of the shuffle.
        card: name of the dataset's card.

    Raises:
        UserError: ``n_train`` is not between 2 and n - 1, or a column has one value in the training part.
    """
    if not 1 < n_train < len(x):
        raise UserError(f"dataset.args.n_train must lie between 2 and {len(x) - 1}, not {n_train}")
    order = np.random.default_rng(seed).permutation(len(x))
    rows = np.column_stack([x, y])[order]
    mean, deviation = rows[:n_train].mean(0), rows[:n_train].std(0)
    if not deviation.all():
        column = int(np.argmin(deviation))
        raise UserError(
            f"dataset.args.n_train: column {column} has one value in {n_train} training examples; raise it"
        )
    rows = (rows - mean) / deviation
    x, y = rows[:, :-1], rows[:, -1:]
    return Split(train=(x[:n_train], y[:n_train]), query=(x[n_train:], y[n_train:]), card=card)

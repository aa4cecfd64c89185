"""Same label: 1 for the training examples of the query's class, 0 for all others.

A baseline without any model. A method that scores higher than it knows something about single examples, and not only
about classes. It cannot rank the examples of one class, and it does not detect wrong labels.

Shapes: (n_query, n_train). Cost: one comparison per score.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proponent.methods.shared.array_needs import ArrayData

ARRAYS = "numpy"
TASKS = ("classification",)


def attribute(data: ArrayData) -> NDArray[np.float32]:
    """Return the indicator of equal labels, (n_query, n_train).

    Args:
        data: examples and queries, of which only the labels are used.
    """
    same: NDArray[np.bool_] = data.y_query[:, None] == data.y_train[None, :]
    return same.astype(np.float32)

"""Number of classes of a dataset, for methods with one vector per class."""

from __future__ import annotations

from proponent.methods.shared.needs import Data


def class_count(data: Data) -> int:
    """Return 1 + the largest label of examples and queries: a query may have a class that no training example has."""
    return int(max(data.y_train.max(), data.y_query.max())) + 1

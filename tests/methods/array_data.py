"""Data as a method with the constant ``ARRAYS = "numpy"`` receives it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


def as_arrays(data: Any) -> SimpleNamespace:
    """Return examples and queries of ``data``, whose fields are tensors, as NumPy arrays."""
    names = ("x_train", "y_train", "x_query", "y_query")
    return SimpleNamespace(**{name: getattr(data, name).numpy() for name in names})

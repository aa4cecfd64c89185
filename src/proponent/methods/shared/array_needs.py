"""Needs of methods that work on NumPy arrays, so that their attribution step starts without torch.

A method module with the constant ``ARRAYS = "numpy"`` is handed its ``data`` as :class:`ArrayData` instead of
:class:`proponent.methods.shared.needs.Data`, and returns its scores as an array. The constant is read from the source,
so that no module is imported to find out. Neither this module nor one that declares the constant imports torch, which
would cost 3 s of CPU time per job (2 CPU cores).
"""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray

ArrayRows = NDArray[Any] | dict[str, NDArray[Any]]
"""Inputs with one row per example: one array, or several by name."""


class ArrayData(Protocol):
    """Data without any model, as arrays. It never contains which labels were corrupted."""

    x_train: ArrayRows
    y_train: NDArray[Any]
    x_query: ArrayRows
    y_query: NDArray[Any]

"""Values of one input or of the labels as a tensor, from arrays, tables, images and lists."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from proponent.errors import UserError
from proponent.settings.large_arrays import as_stored, empty_rows

Column = Tensor | list[Tensor]
"""A tensor with one row per example, or lists of integers (length,) of different lengths."""

_IMAGES = ("L", "RGB", "RGBA")
"""Modes of images whose pixels are the values to learn from; those of a palette are not."""


class Gathered:
    """Rows of one column, written into one tensor as they are read.

    Args:
        rows: number of rows.
        where: beginning of messages.
        name: name of the column.
    """

    def __init__(self, rows: int, where: str, name: str) -> None:
        self._rows, self._where, self._name = rows, where, name
        self._tensor: Tensor | None = None
        self._lists: list[Tensor] | None = None

    def add(self, row: int, block: Tensor) -> None:
        """Add the rows of ``block``, of which the first is row ``row``.

        Raises:
            UserError: they have another shape than the rows before, and are not lists of integers; or the types of both
                have no common one.
        """
        if self._tensor is None:
            self._tensor = empty_rows((self._rows, *block.shape[1:]), block.dtype)
        if self._lists is None and block.shape[1:] != self._tensor.shape[1:]:
            if not all(part.ndim == 2 and _is_integer(part) for part in (block, self._tensor)):
                raise UserError(
                    f"{self._where}: {self._name} of row {row} has shape {tuple(block.shape[1:])} and that of row 0 "
                    f"{tuple(self._tensor.shape[1:])}; pad or crop rows to one shape"
                )
            self._lists = list(self._tensor[:row])
        if self._lists is not None:
            self._lists.extend(block)
            return
        try:
            common = torch.promote_types(self._tensor.dtype, block.dtype)
        except RuntimeError:  # torch has no common type of uint16 and int64
            raise UserError(
                f"{self._where}: {self._name} of row {row} is {block.dtype} and that of row 0 {self._tensor.dtype}; give "
                "all rows one type"
            ) from None
        self._tensor = as_stored(self._tensor, common)  # a list of whole numbers may go on with fractions
        self._tensor[row : row + len(block)] = block

    def column(self) -> Column:
        """Return the column; an empty tensor if there are no rows."""
        if self._lists is not None:
            return self._lists
        return torch.empty(0) if self._tensor is None else self._tensor


def column_of(values: Any, where: str, name: str) -> Column:
    """Return the values of all examples under one name.

    Args:
        values: array, sparse or dense, of NumPy, SciPy or torch; frame or series of pandas; or a list with one entry per
            example: a number, an array, an image of Pillow or a list of numbers.
        where: beginning of messages.
        name: name of the column.

    Raises:
        UserError: the values are not numeric, or the entries of a list have different shapes.
    """
    listed = isinstance(values, (list, tuple)) or getattr(values, "dtype", None) == np.dtype("O")
    if not listed:
        return value_of(values, f"{where} {name}")
    entries = list(values)
    if all(isinstance(entry, (int, float)) for entry in entries):
        return value_of(entries, f"{where} {name}")
    return gathered(entries, where, name)


def gathered(entries: Iterable[Any], where: str, name: str) -> Column:
    """Return a column of which every entry is read on its own; arguments as in :func:`column_of`."""
    tensors = [value_of(entry, f"{where} {name} of row {row}") for row, entry in enumerate(entries)]
    found = Gathered(len(tensors), where, name)
    for row, tensor in enumerate(tensors):
        found.add(row, tensor[None])
    return found.column()


def value_of(value: Any, where: str) -> Tensor:
    """Return a dense tensor of an array, a table, an image, a list of numbers, or a number.

    An image of Pillow becomes uint8, (height, width, channels), or (height, width) if it is grey.

    Raises:
        UserError: it cannot be made a tensor.
    """
    try:
        if isinstance(value, Tensor):
            return _dense(value)
        if is_frame(value):
            return torch.as_tensor(_of_frame(value))
        if hasattr(value, "toarray"):  # a sparse array of SciPy
            value = value.toarray()
        mode = getattr(value, "mode", None)
        if isinstance(mode, str) and hasattr(value, "getpixel") and mode not in _IMAGES:
            raise ValueError(f"it is an image of mode {mode}; convert it, for example by convert('RGB')")
        if np.ma.is_masked(value):
            raise ValueError("some of its values are masked; fill them in, or drop these rows")
        return _of_array(np.asarray(value))
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{where}: cannot be made a tensor ({' '.join(str(error).split())})") from error


def is_frame(value: Any) -> bool:
    """Return whether a value is a frame or a series of pandas."""
    return hasattr(value, "iloc") and hasattr(value, "to_numpy")


def _of_frame(value: Any) -> NDArray[Any]:
    """Return the numbers of a frame or a series; missing ones become NaN.

    Raises:
        ValueError: a column does not hold numbers.
    """
    columns = value.items() if hasattr(value, "columns") else [(value.name, value)]
    kinds = []
    for name, column in columns:
        if column.dtype.kind not in "biuf":
            subject = "it" if name is None else f"column '{name}'"
            raise ValueError(
                f"{subject} is of type {column.dtype}; encode it as numbers, for example by pandas.get_dummies or "
                ".cat.codes, or drop it"
            )
        kinds.append(getattr(column.dtype, "numpy_dtype", column.dtype))
        if bool(column.isna().any()):
            kinds.append(np.dtype(np.float64))
    common = np.result_type(*kinds) if kinds else np.dtype(np.float64)
    missing = {"na_value": np.nan} if common.kind == "f" else {}
    found: NDArray[Any] = value.to_numpy(dtype=common, copy=True, **missing)
    return found


def _of_array(array: NDArray[Any]) -> Tensor:
    if array.dtype.kind in "US":
        raise ValueError(
            "it holds text; turn it into numbers in the dataset factory (tokens, or indices of classes), or drop it"
        )
    if array.dtype.kind in "OMmV":
        raise ValueError(
            f"its type is {array.dtype}; turn it into numbers in the dataset factory, or drop it"
        )
    if any(stride < 0 for stride in array.strides):
        array = array.copy()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nothing writes into it
        return torch.as_tensor(array.astype(array.dtype.newbyteorder("="), copy=False))


def _dense(value: Tensor) -> Tensor:
    plain = value.detach().cpu()
    if plain.is_quantized:
        return plain.dequantize()
    return plain if plain.layout == torch.strided else plain.to_dense()


def _is_integer(values: Tensor) -> bool:
    return not (values.is_floating_point() or values.is_complex() or values.dtype == torch.bool)

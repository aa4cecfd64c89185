"""Tensors from the forms in which a dataset factory may give examples: arrays, lists, mappings, and datasets of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from proponent.errors import UserError

_FORMS = 'a pair (x, y) or a mapping {"x": x, "y": y} of arrays, or an indexable dataset of such pairs'


def pair_of_tensors(data: Any, where: str) -> tuple[Tensor, Tensor]:
    """Return x and y as dense tensors with the same number of rows, at least one, and only finite numbers.

    Args:
        data: examples in one of the accepted forms.
        where: beginning of messages.

    Raises:
        UserError: the form is not accepted, or x and y cannot be used.
    """
    pair = _as_pair(data, where)
    if pair is None:
        x, y = _collect(data, where)
    else:
        x, y = (_tensor(part, f"{where} {what}") for part, what in zip(pair, "xy", strict=True))
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
        raise UserError(
            f"{where}: x has shape {tuple(x.shape)} and y {tuple(y.shape)}; give both one row per example"
        )
    if len(x) == 0:
        raise UserError(f"{where}: there are no examples; the dataset factory must return at least one")
    for what, part in (("x", x), ("y", y)):
        if part.is_floating_point() and not bool(torch.isfinite(part.float()).all()):
            finite = torch.isfinite(part.float())  # a double above 3.4e38 is infinite in float32
            rows = (~finite).flatten(1).any(1) if part.ndim > 1 else ~finite
            first = int(rows.nonzero()[0])
            raise UserError(
                f"{where}: {what} holds NaN or infinite numbers in {int(rows.sum())} rows (first: {first}); "
                "clean or drop these rows in the dataset factory"
            )
    return x, y


def _as_pair(data: Any, where: str) -> tuple[Any, Any] | None:
    """Return x and y of a pair or mapping of arrays; None for a dataset of rows."""
    if isinstance(data, Mapping):
        if set(data) != {"x", "y"}:
            names = ", ".join(map(str, data))
            raise UserError(f"{where}: must be {_FORMS}; this mapping has the names {names}")
        return data["x"], data["y"]
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        return None
    if isinstance(data, tuple) or not isinstance(data[0], (tuple, list)):
        return data[0], data[1]
    # A list of two lists is a pair of lists, or two rows (x, y), of which x mostly has more axes than y.
    first = data[0]
    is_two_rows = len(first) == 2 and np.ndim(first[0]) != np.ndim(first[1])
    return None if is_two_rows else (data[0], data[1])


def _collect(data: Any, where: str) -> tuple[Tensor, Tensor]:
    """Read an indexable dataset row by row."""
    if not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        raise UserError(f"{where}: must be {_FORMS}, not a {type(data).__name__}")
    xs, ys = [], []
    for row in range(len(data)):
        x, y = _item(data[row], f"{where}: row {row}")
        xs.append(_tensor(x, f"{where} x of row {row}"))
        ys.append(_tensor(y, f"{where} y of row {row}"))
    for what, rows in (("x", xs), ("y", ys)):
        for row, value in enumerate(rows):
            if value.shape != rows[0].shape:
                raise UserError(
                    f"{where}: {what} of row {row} has shape {tuple(value.shape)} and that of row 0 "
                    f"{tuple(rows[0].shape)}; pad or crop rows to one shape"
                )
    return (torch.stack(xs), torch.stack(ys)) if xs else (torch.empty(0), torch.empty(0))


def _item(item: Any, where: str) -> tuple[Any, Any]:
    if isinstance(item, Mapping) and set(item) == {"x", "y"}:
        return item["x"], item["y"]
    if isinstance(item, Mapping):
        names = ", ".join(map(str, item))
        raise UserError(f"{where} must be a pair (x, y) or have the names x and y; it has the names {names}")
    if not (isinstance(item, Sequence) and len(item) == 2) or isinstance(item, str):
        raise UserError(f"{where} must be a pair (x, y), not a {type(item).__name__}")
    return item[0], item[1]


def _tensor(value: Any, where: str) -> Tensor:
    """Return a dense tensor of an array, sparse or dense, of a list of numbers or tensors, or of a number."""
    try:
        if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
            raise ValueError("some of its values are masked; fill them in, or drop these rows")
        if isinstance(value, (list, tuple)) and value and all(isinstance(row, Tensor) for row in value):
            value = torch.stack([_dense(row) for row in value])
        if isinstance(value, Tensor):
            return _dense(value)
        if hasattr(value, "toarray"):  # a sparse array of SciPy
            value = value.toarray()
        return torch.as_tensor(np.asarray(value))
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{where}: cannot be made a tensor ({' '.join(str(error).split())})") from error


def _dense(value: Tensor) -> Tensor:
    plain = value.detach().cpu()
    if plain.is_quantized:
        return plain.dequantize()
    return plain if plain.layout == torch.strided else plain.to_dense()

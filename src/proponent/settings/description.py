"""Checks of what a dataset factory says of its data: names of classes, and the shape of an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from proponent.errors import UserError
from proponent.rows import Rows, named_tensors

_CHANNELS = (1, 3, 4)


def check_description(
    class_names: Any, image_shape: Any, x: Rows, name: str
) -> tuple[list[str] | None, tuple[int, ...] | None]:
    """Return names of classes as text and the shape of an image as integers.

    Args:
        class_names: text or numbers, one per class, or None.
        image_shape: (height, width), (channels, height, width) or (height, width, channels), or None.
        x: (n, …) examples.
        name: name of the setting, for messages.

    Raises:
        UserError: a name is neither text nor a number, or the shape does not fit a row of ``x``.
    """
    where = f"setting {name}"
    return (
        None if class_names is None else class_list(class_names, where),
        None if image_shape is None else _image_shape(image_shape, x, where),
    )


def class_list(class_names: Any, where: str) -> list[str]:
    """Return the names of the labels 0, 1, … as text.

    Raises:
        UserError: they are not a sequence of text or numbers.
    """
    if isinstance(class_names, (str, bytes)) or not isinstance(class_names, (Sequence, np.ndarray, Tensor)):
        raise UserError(
            f"{where}: class_names must be a list with one name per label, not a {type(class_names).__name__}"
        )
    names = [entry.item() if isinstance(entry, (np.generic, Tensor)) else entry for entry in class_names]
    for label, entry in enumerate(names):
        if not isinstance(entry, (str, int, float)):
            raise UserError(
                f"{where}: the name of label {label} in class_names is a {type(entry).__name__}; give text"
            )
    return [str(entry) for entry in names]


def _image_shape(image_shape: Any, x: Rows, where: str) -> tuple[int, ...]:
    wanted = (
        "give (height, width), (channels, height, width) or (height, width, channels) with 1, 3 or 4 channels"
    )
    try:
        shape = tuple(int(size) for size in image_shape)
        whole = all(size == given for size, given in zip(shape, image_shape, strict=True))
    except (TypeError, ValueError):
        raise UserError(f"{where}: image_shape is {image_shape!r}; {wanted}") from None
    has_channels = len(shape) == 3 and (shape[0] in _CHANNELS or shape[2] in _CHANNELS)
    if not whole or min(shape, default=0) < 1 or not (len(shape) == 2 or has_channels):
        raise UserError(f"{where}: image_shape is {shape}; {wanted}")
    rows = {name: tuple(value.shape[1:]) for name, value in named_tensors(x).items()}
    same_size = [row for row in rows.values() if math.prod(row) == math.prod(shape)]
    if not same_size:
        found = ", ".join(f"a row of {name} has {math.prod(row)}" for name, row in rows.items())
        raise UserError(
            f"{where}: image_shape {shape} has {math.prod(shape)} elements, but {found}; {wanted}"
        )
    if not any(_is_layout_of(shape, row) for row in same_size):
        raise UserError(
            f"{where}: image_shape is {shape}, but a row of x has the shape {same_size[0]}; give the shape of the row"
        )
    return shape


def _is_layout_of(shape: tuple[int, ...], row: tuple[int, ...]) -> bool:
    """Return whether a row is an image of this shape: flat, or with the same sizes apart from axes of size 1."""
    return len(row) == 1 or [size for size in shape if size > 1] == [size for size in row if size > 1]

"""Queries from files and texts: an image, a text, a table, or tensors, as rows like those of a training set."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.rows import TOKENS, NamedRows, Rows, named_tensors
from proponent.settings.accepted_forms import LABELS
from proponent.store.tensors import load_tensors

Query = tuple[Any, Tensor | None]
"""Inputs in a form that an attributor takes, and labels if there are any."""


def image_query(path: Path, x: Rows, image_shape: tuple[int, ...] | None) -> Query:
    """Return an image file as a query.

    The image is converted to the channels of the setting and resized. Where the training inputs are numbers, black and white
    of each channel become the smallest and the largest value of the channel in the training set.

    Args:
        path: file in a format of Pillow.
        x: (n_train, ...) training inputs.
        image_shape: (height, width), (channels, height, width) or (height, width, channels).

    Raises:
        UserError: the setting has other inputs, Pillow is not installed, or the file cannot be read as an image.
    """
    if image_shape is None:
        raise UserError(f"{path}: this setting has no images; give --file, --text or --tensor")
    named = named_tensors(x)
    if len(named) > 1:
        raise UserError(
            f"{path}: the model takes {', '.join(named)}, and an image is one of them; give all with --tensor"
        )
    pixels = _pixels(path, image_shape)
    (train,) = named.values()
    if train.is_floating_point():
        images = train.reshape(len(train), *image_shape)
        low = images.amin(_pixel_axes(image_shape), keepdim=True)[0]
        high = images.amax(_pixel_axes(image_shape), keepdim=True)[0]
        values = low + torch.from_numpy(pixels).to(train) / 255 * (high - low)
    else:
        values = torch.from_numpy(pixels).to(train.dtype)
    return values.reshape(1, *train.shape[1:]), None


def text_query(text: str, x: Rows, tokenizer: Any) -> Query:
    """Return a text as a query, padded or cut to the length of the training texts.

    Args:
        text: the text.
        x: (n_train, ...) training inputs.
        tokenizer: function from a text to ``{"input_ids": tokens, ...}``, such as a tokenizer of transformers.

    Raises:
        UserError: the tokenizer does not return an input of the model.
    """
    found = tokenizer(text)
    if not isinstance(found, Mapping) or TOKENS not in found:
        raise UserError(f'the tokenizer must return a mapping with "{TOKENS}", not a {type(found).__name__}')

    def row(values: Any, like: Tensor) -> Tensor:
        own = torch.as_tensor(values, dtype=like.dtype).flatten()[: like.shape[1]]
        return torch.cat([own, own.new_zeros(like.shape[1] - len(own))])[None]

    if not isinstance(x, NamedRows):
        return row(found[TOKENS], x), None
    missing = [name for name in x.tensors if name not in found]
    if missing:
        raise UserError(f"the tokenizer returns no '{missing[0]}', which the model takes; give --tensor")
    rows = {name: row(found[name], like) for name, like in x.tensors.items()}
    return (tuple(rows.values()) if x.positional else rows), None


def table_query(path: Path, x: Rows) -> Query:
    """Return the rows of a CSV file as queries: one column per feature, in their order, and labels in a column ``y``.

    Args:
        path: file with a line of names first.
        x: (n_train, ...) training inputs.

    Raises:
        UserError: pandas is not installed, the file cannot be read, or has another number of columns.
    """
    import pandas

    if isinstance(x, NamedRows):
        raise UserError(f"{path}: the model takes {', '.join(x.tensors)}; give these with --tensor")
    try:
        frame = pandas.read_csv(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as CSV: {error}") from error
    labels = [name for name in LABELS if name in frame.columns]
    features = frame.drop(columns=labels)
    width = math.prod(x.shape[1:])
    if features.shape[1] != width or not len(frame):
        raise UserError(
            f"{path}: has {len(frame)} rows of {features.shape[1]} columns apart from the label; give rows of {width}, "
            "in the units of the training set"
        )
    try:
        values = torch.from_numpy(features.to_numpy(dtype=np.float64, copy=True))
        y = torch.from_numpy(frame[labels[0]].to_numpy(copy=True)) if labels else None
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: {error}; give numbers only, and labels as numbers of classes") from error
    return values.to(x.dtype).reshape(len(frame), *x.shape[1:]), y


def tensor_query(path: Path, x: Rows) -> Query:
    """Return the tensors of a safetensors file as queries: the inputs by name, and labels as ``y`` if there are any.

    Args:
        path: file.
        x: (n_train, ...) training inputs.

    Raises:
        UserError: the file cannot be read, or lacks an input.
    """
    tensors = load_tensors(path)
    y = tensors.pop("y", None)
    named = named_tensors(x)
    if set(tensors) != set(named):
        raise UserError(
            f"{path}: has the tensors {', '.join(sorted(tensors)) or 'none'}; give {', '.join(named)}, and labels as y"
        )
    rows = {name: _as_rows(tensors[name], like) for name, like in named.items()}
    if y is not None and not y.ndim:
        y = y[None]
    if not isinstance(x, NamedRows):
        return rows[next(iter(rows))], y
    return (tuple(rows.values()) if x.positional else rows), y


def _as_rows(value: Tensor, like: Tensor) -> Tensor:
    """Return rows; a tensor of the shape of one row is one row."""
    return value[None] if value.ndim == like.ndim - 1 else value


def _pixels(path: Path, shape: tuple[int, ...]) -> Any:
    """Return an image as numbers from 0 to 255 in a given shape."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ModuleNotFoundError as error:
        raise UserError(
            "images are read by Pillow; install it with pip install 'proponent[explain]'"
        ) from error
    channels = shape[-1] if _channels_last(shape) else shape[0] if len(shape) == 3 else 1
    height, width = shape[:2] if len(shape) == 2 or _channels_last(shape) else shape[1:]
    try:
        with Image.open(path) as opened:
            image = opened.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels])
    except (OSError, UnidentifiedImageError) as error:
        raise UserError(f"{path}: cannot be read as an image: {error}") from error
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    pixels = np.array(image).reshape(height, width, channels)
    arranged = pixels if _channels_last(shape) else np.moveaxis(pixels, -1, 0)
    return arranged.reshape(shape)


def _channels_last(shape: tuple[int, ...]) -> bool:
    """Return whether an image has its channels last; a shape that can be read both ways has them first."""
    first, last = shape[0], shape[-1]
    return len(shape) == 3 and first != 1 and (first not in (3, 4) or last == 1)


def _pixel_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes of images (n, ...) that are not channels."""
    if len(shape) == 2:
        return (0, 1, 2)
    return (0, 1, 2) if _channels_last(shape) else (0, 2, 3)

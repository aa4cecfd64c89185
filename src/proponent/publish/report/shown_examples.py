"""Examples and queries as people see them: small pictures, texts, or the first of their values."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proponent.publish.figures.proponents_figure import as_picture
from proponent.publish.report.section import Item

Values = NDArray[Any]
_LARGEST = 96
"""Pixels of the longer side of a picture; larger ones are scaled down."""
_LOSSLESS_BELOW = 65
"""Pixels of the longer side up to which a grey picture is stored without loss; colours would take four times the space."""
_VALUES, _WORDS = 8, 60
"""Values of a row, and words of a text, that are shown."""
_PADDING = 0


@dataclass(frozen=True)
class Examples:
    """Rows of a dataset with what describes them.

    Args:
        x: (n, ...) inputs, or several of them by name.
        y: (n, ...) labels.
        class_names: names of the labels 0, 1, …; None if the labels are values.
        image_shape: shape of a row that is an image (:func:`~proponent.publish.figures.proponents_figure.as_picture`).
        token_names: names of the tokens 0, 1, …, if rows are tokens and their names are known.
    """

    x: Values | Mapping[str, Values]
    y: Values
    class_names: Sequence[str] | None
    image_shape: Sequence[int] | None
    token_names: Sequence[str] | None = None

    @property
    def has_classes(self) -> bool:
        """Whether labels are classes, of which two examples may share one."""
        return self.y.ndim == 1 and bool(np.issubdtype(self.y.dtype, np.integer))

    def item(self, row: int) -> Item:
        """Return one row as the gallery shows it."""
        inputs = {name: value[row] for name, value in self._inputs().items()}
        picture = self._picture(inputs.values())
        return Item(row, self.label(row), picture, "" if picture else _in_words(inputs, self.token_names))

    def label(self, row: int) -> str:
        """Return the label of one row."""
        label = self.y[row]
        if label.ndim:
            return " ".join(str(value) for value in label.flatten()[:_VALUES].tolist())
        return self.class_names[int(label)] if self.class_names else f"{float(label):.3g}"

    def _inputs(self) -> dict[str, Values]:
        return dict(self.x) if isinstance(self.x, Mapping) else {"": self.x}

    def _picture(self, inputs: Any) -> str:
        if self.image_shape is None:
            return ""
        image = next((value for value in inputs if value.size == math.prod(self.image_shape)), None)
        picture = None if image is None else as_picture(image, self.image_shape)
        return "" if picture is None else data_uri(picture)


def data_uri(picture: NDArray[np.float64]) -> str:
    """Return a picture as a data URI of an image in WebP.

    Args:
        picture: (h, w), whose largest value is drawn black, or (h, w, 3) or (h, w, 4) colours, between 0 and 1.
    """
    from PIL import Image

    shown = 1 - picture if picture.ndim == 2 else picture
    image = Image.fromarray(np.round(255 * shown).astype(np.uint8))
    image.thumbnail((_LARGEST, _LARGEST))
    stream = io.BytesIO()
    lossless = picture.ndim == 2 and max(image.size) < _LOSSLESS_BELOW
    image.save(stream, "WEBP", lossless=lossless, quality=80, method=4)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _in_words(inputs: Mapping[str, Values], token_names: Sequence[str] | None) -> str:
    """Return inputs in words: their tokens without the padding at the end, or their first values."""
    parts = []
    for name, value in inputs.items():
        flat = value.reshape(-1)
        if np.issubdtype(flat.dtype, np.integer) and token_names is not None:
            kept = flat[: int(np.max(np.flatnonzero(flat != _PADDING), initial=-1)) + 1]
            words = [token_names[token] for token in kept[:_WORDS].tolist()]
            text = " ".join(words) + (" …" if len(kept) > _WORDS else "")
        else:
            text = ", ".join(f"{number:.3g}" for number in flat[:_VALUES].tolist())
            text += f", … ({len(flat)} values)" if len(flat) > _VALUES else ""
        parts.append(f"{name}: {text}" if name else text)
    return "; ".join(parts)

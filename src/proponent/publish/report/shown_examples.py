"""Examples and queries as people see and hear them: small pictures, texts, sounds, or the first of their values."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proponent.publish.examples import is_music, notes_of, piano_roll, token_input, token_pieces
from proponent.publish.examples.spoken_bands import HOP, band_centres, band_levels
from proponent.publish.figures.proponents_figure import as_picture
from proponent.publish.report.section import Item

Values = NDArray[Any]
_LARGEST = 96
"""Pixels of the longer side of a picture; larger ones are scaled down."""
_LOSSLESS_BELOW = 65
"""Pixels of the longer side up to which a grey picture is stored without loss; colours would take four times the space."""
_VALUES, _LETTERS = 8, 300
"""Values of a row, and letters of a text, that are shown."""
_SIXTEENTH = 60 / 72 / 4
"""Seconds of a sixteenth of music: 72 quarters per minute."""
_ROLL = 160
"""Sixteenths, from the beginning, that a piano roll shows."""


@dataclass(frozen=True)
class Examples:
    """Rows of a dataset with what describes them.

    Args:
        x: (n, ...) inputs, or several of them by name.
        y: (n, ...) labels.
        class_names: names of the labels 0, 1, …; None if the labels are values.
        image_shape: shape of a row that is an image (:func:`~proponent.publish.figures.proponents_figure.as_picture`).
        token_names: names of the tokens 0, 1, …, if rows are tokens and their names are known.
        spoken: whether images are log-mel spectrograms of speech, the lowest band first.
    """

    x: Values | Mapping[str, Values]
    y: Values
    class_names: Sequence[str] | None
    image_shape: Sequence[int] | None
    token_names: Sequence[str] | None = None
    spoken: bool = False

    @property
    def has_classes(self) -> bool:
        """Whether labels are classes, of which two examples may share one."""
        return self.y.ndim == 1 and bool(np.issubdtype(self.y.dtype, np.integer))

    def item(self, row: int) -> Item:
        """Return one row as the gallery shows it."""
        inputs = {name: value[row] for name, value in self._inputs.items()}
        tokens = self.tokens(row)
        notes = None
        if tokens is not None and self.is_music:
            notes = [note for note in notes_of(tokens, self.token_names or ()) if note.start < _ROLL]
        picture = data_uri(piano_roll(notes)[:, :_ROLL]) if notes else self._picture(inputs)
        pieces = [] if notes is not None else [piece for _, piece in self.pieces(row)]
        sound: dict[str, Any] | None = None
        if notes:
            sound = {"notes": [list(note) for note in notes], "sixteenth": round(_SIXTEENTH, 4)}
        elif self.spoken and picture:
            sound = self._bands(inputs)
        text = "".join(pieces).strip()
        if not picture and not text:
            text = _in_numbers(inputs)
        return Item(row, self.label(row), picture, text, sound)

    def label(self, row: int) -> str:
        """Return the label of one row; that of a text whose labels are the tokens that follow is empty."""
        label = self.y[row]
        if label.ndim:
            if self.token_names is not None:
                return ""
            return " ".join(str(value) for value in label.flatten()[:_VALUES].tolist())
        return self.class_names[int(label)] if self.class_names else f"{float(label):.3g}"

    @property
    def is_music(self) -> bool:
        """Whether rows are music."""
        return self.token_names is not None and is_music(self.token_names)

    def tokens(self, row: int) -> Values | None:
        """Return the token numbers of one row, (length,); None where rows have none, or their names are unknown."""
        name = None if self.token_names is None else token_input(self._inputs)
        return None if name is None else np.asarray(self._inputs[name][row]).reshape(-1)

    def pieces(self, row: int) -> list[tuple[int, str]]:
        """Return the positions of the tokens that are shown with their parts of the text; empty without tokens."""
        tokens = self.tokens(row)
        if tokens is None:
            return []
        shown: list[tuple[int, str]] = []
        letters = 0
        for place, piece in token_pieces(tokens, self.token_names or ()):
            if letters + len(piece) > _LETTERS:
                return [*shown, (place, " …")]
            letters += len(piece)
            shown.append((place, piece))
        return shown

    @cached_property
    def _inputs(self) -> dict[str, Values]:
        return dict(self.x) if isinstance(self.x, Mapping) else {"": self.x}

    def _image(self, inputs: Mapping[str, Values]) -> Values | None:
        if self.image_shape is None:
            return None
        return next((value for value in inputs.values() if value.size == math.prod(self.image_shape)), None)

    def _picture(self, inputs: Mapping[str, Values]) -> str:
        image = self._image(inputs)
        picture = None if image is None else as_picture(image, self.image_shape)
        if picture is None:
            return ""
        return data_uri(picture[::-1] if self.spoken else picture)

    def _bands(self, inputs: Mapping[str, Values]) -> dict[str, Any]:
        image = self._image(inputs)
        assert image is not None and self.image_shape is not None  # noqa: S101 -- there is a picture
        levels = band_levels(image.reshape(tuple(self.image_shape)[-2:]), self._silence)
        return {
            "levels": base64.b64encode(levels.tobytes()).decode(),
            "hertz": band_centres(len(levels)),
            "hop": HOP,
        }

    @cached_property
    def _silence(self) -> float:
        return min(float(value.min()) for value in self._inputs.values())


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


def _in_numbers(inputs: Mapping[str, Values]) -> str:
    """Return the first values of each input."""
    parts = []
    for name, value in inputs.items():
        flat = value.reshape(-1)
        text = ", ".join(f"{number:.3g}" for number in flat[:_VALUES].tolist())
        text += f", … ({len(flat)} values)" if len(flat) > _VALUES else ""
        parts.append(f"{name}: {text}" if name else text)
    return "; ".join(parts)

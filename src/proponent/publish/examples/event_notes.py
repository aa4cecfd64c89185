"""Notes of tokens of music: names such as ``pitch 60``, ``length 4`` and ``step 2``, in sixteenths of a whole note."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

_EVENT = re.compile(r"(?P<kind>step|pitch|length) (?P<value>\d+)")


class PlayedNote(NamedTuple):
    """A note: its start and length in sixteenths, and its pitch as a MIDI number (60 = middle C)."""

    start: int
    pitch: int
    length: int


def is_music(names: Sequence[str]) -> bool:
    """Return whether tokens with these names are music."""
    return any(name.startswith("pitch ") and _EVENT.fullmatch(name) for name in names)


def notes_of(row: ArrayLike, names: Sequence[str]) -> list[PlayedNote]:
    """Return the notes of a row of tokens, in its order.

    A step moves time; a length belongs to the pitch before it. Other tokens are passed over, and a pitch without a length,
    as a model may generate, lasts a quarter.

    Args:
        row: token numbers, (length,); negative ones (ignored labels) are left out.
        names: name of each token.
    """
    notes: list[PlayedNote] = []
    now, is_open = 0, False
    for number in np.asarray(row).tolist():
        event = _EVENT.fullmatch(names[number]) if number >= 0 else None
        if event is None:
            continue
        value = int(event["value"])
        if event["kind"] == "step":
            now += value
        elif event["kind"] == "pitch":
            notes.append(PlayedNote(now, value, 4))
        elif is_open:
            notes[-1] = notes[-1]._replace(length=value)
        is_open = event["kind"] == "pitch"
    return notes

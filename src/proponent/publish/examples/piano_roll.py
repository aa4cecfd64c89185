"""Piano rolls: pictures of notes by time and pitch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from proponent.publish.examples.event_notes import PlayedNote


def piano_roll(notes: Sequence[PlayedNote]) -> NDArray[np.float64]:
    """Return a picture of notes, (pitches, sixteenths), the highest pitch first: 1 where a note begins, 0.7 where it lasts.

    Args:
        notes: notes in any order; without any, the picture is one empty pixel.
    """
    if not notes:
        return np.zeros((1, 1))
    highest, lowest = max(note.pitch for note in notes), min(note.pitch for note in notes)
    picture = np.zeros((highest - lowest + 1, max(note.start + note.length for note in notes)))
    for note in notes:
        picture[highest - note.pitch, note.start : note.start + note.length] = 0.7
    for note in notes:  # a note that begins while another one of its pitch lasts is seen
        picture[highest - note.pitch, note.start] = 1.0
    return picture

"""Notes as sound: a simple additive synthesis, written as WAV."""

from __future__ import annotations

import io
import wave
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from proponent.errors import UserError
from proponent.publish.examples.event_notes import PlayedNote

RATE = 16000
"""Samples per second."""
_HARMONICS = (1.0, 0.5, 0.25, 0.12)
"""Amplitudes of the tone and its harmonics."""
_ATTACK, _RELEASE = 0.01, 0.08
"""Seconds in which a note swells, and in which it fades after its end."""
_DECAY = 1.5
"""Seconds after which a held note is 1 / e as loud."""
_LOUDEST = 0.9


def wav_bytes(notes: Sequence[PlayedNote], quarters_per_minute: float = 72.0, seconds: float = 12.0) -> bytes:
    """Return notes as a WAV file: one channel, 16 bits, :data:`RATE` samples per second.

    Args:
        notes: notes in any order.
        quarters_per_minute: tempo.
        seconds: length after which the sound ends, at the latest.

    Raises:
        UserError: the tempo or the length is not positive.
    """
    if quarters_per_minute <= 0 or seconds <= 0:
        raise UserError(
            f"sound: quarters_per_minute and seconds must be positive, not {quarters_per_minute} and {seconds}"
        )
    samples = sound(notes, 60 / quarters_per_minute / 4)[: round(seconds * RATE)]
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def sound(notes: Sequence[PlayedNote], sixteenth: float) -> NDArray[np.float64]:
    """Return the samples of notes, at most :data:`_LOUDEST` in absolute value.

    Args:
        notes: notes in any order.
        sixteenth: length of a sixteenth in seconds.
    """
    end = max((note.start + note.length for note in notes), default=0) * sixteenth + _RELEASE
    samples = np.zeros(int(end * RATE) + 2)
    for note in notes:
        tone = _tone(440 * 2 ** ((note.pitch - 69) / 12), note.length * sixteenth)
        first = int(note.start * sixteenth * RATE)
        samples[first : first + len(tone)] += tone
    loudest = float(np.abs(samples).max())
    return samples * (_LOUDEST / loudest) if loudest else samples


def _tone(hertz: float, length: float) -> NDArray[np.float64]:
    """Return the samples of one note."""
    time = np.arange(int((length + _RELEASE) * RATE)) / RATE
    tone = sum(
        (level * np.sin(2 * np.pi * hertz * order * time) for order, level in enumerate(_HARMONICS, 1)),
        np.zeros(len(time)),
    )
    envelope = (
        np.minimum(1, time / _ATTACK)
        * np.exp(-time / _DECAY)
        * np.clip((length + _RELEASE - time) / _RELEASE, 0, 1)
    )
    return tone * envelope

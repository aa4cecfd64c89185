"""Music as tokens: steps in time, and the pitch and length of each note."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from proponent.settings.datasets.musicxml import Note
from proponent.settings.datasets.next_tokens import SPECIAL

LOWEST, HIGHEST = 21, 108
"""Pitches of a piano, as MIDI numbers; others are left out."""
LONGEST = 16
"""Largest step and length of a token, in sixteenths; longer steps take several tokens, and longer notes are cut."""
NAMES = [
    *SPECIAL,
    *(f"step {step}" for step in range(1, LONGEST + 1)),
    *(f"length {length}" for length in range(1, LONGEST + 1)),
    *(f"pitch {pitch}" for pitch in range(LOWEST, HIGHEST + 1)),
]
"""Names of the tokens in the order of their numbers: what :mod:`proponent.publish.examples` reads."""
_STEP = len(SPECIAL) - 1
_LENGTH = _STEP + LONGEST
_PITCH = len(SPECIAL) + 2 * LONGEST - LOWEST


def events(notes: Iterable[Note]) -> list[list[int]]:
    """Return the tokens of each time at which a note begins: steps from the time before, then notes from the highest.

    A note is two tokens, its pitch and its length.

    Args:
        notes: notes of all parts together, in any order.
    """
    starts: dict[int, list[Note]] = {}
    for note in notes:
        if LOWEST <= note.pitch <= HIGHEST:
            starts.setdefault(note.start, []).append(note)
    times, now = [], 0
    for start in sorted(starts):
        steps, rest = divmod(start - now, LONGEST)
        tokens = [_STEP + LONGEST] * steps + ([_STEP + rest] if rest else [])
        for note in sorted(set(starts[start]), key=lambda note: (-note.pitch, note.length)):
            tokens += [_PITCH + note.pitch, _LENGTH + min(note.length, LONGEST)]
        times.append(tokens)
        now = start
    return times


def windows(times: Sequence[Sequence[int]], length: int) -> list[list[int]]:
    """Return parts of a piece with at most ``length`` tokens each, of whole times; the steps before a part are left out.

    Args:
        times: tokens of each time (:func:`events`).
        length: tokens per part.
    """
    found: list[list[int]] = [[]]
    for tokens in times:
        if found[-1] and len(found[-1]) + len(tokens) > length:
            found.append([])
        notes = [token for token in tokens if token > _STEP + LONGEST] if not found[-1] else tokens
        found[-1] += notes[:length]
    return [part for part in found if part]

"""Notes of scores in compressed MusicXML (.mxl), in sixteenths."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import NamedTuple
from xml.etree import ElementTree

from proponent.errors import UserError

_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
PER_QUARTER = 4
"""Units of time per quarter note: sixteenths."""


class Note(NamedTuple):
    """A note: its start in sixteenths from the beginning, its pitch as a MIDI number (60 = middle C), and its length."""

    start: int
    pitch: int
    length: int


def read_parts(content: bytes, name: str) -> list[list[Note]]:
    """Return the notes of each part of a score, in the order of the score.

    Tied notes are one note, grace notes are left out, and starts and lengths are rounded to sixteenths (up to a length of at
    least one).

    Args:
        content: bytes of a ``.mxl`` file.
        name: name of the file, for messages.

    Raises:
        UserError: it is not a score of parts.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            inner = [
                entry
                for entry in file.namelist()
                if not entry.startswith("META-INF") and entry.endswith("xml")
            ]
            # The file is part of an archive whose digest is verified, and expat does not load external entities.
            root = ElementTree.fromstring(file.read(inner[0]))  # noqa: S314
        if root.tag != "score-partwise":
            raise ValueError(f"its root is {root.tag}")
        return [_joined(_notes(part)) for part in root.findall("part")]
    except (zipfile.BadZipFile, ElementTree.ParseError, IndexError, ValueError, KeyError) as error:
        raise UserError(f"{name}: is not a MusicXML score of parts ({error}); remove it") from error


def _notes(part: ElementTree.Element) -> Iterator[tuple[float, int, float, bool]]:
    """Yield start, pitch and length of the notes of a part, and whether each is tied to the note before."""
    divisions, begin = 1, 0.0
    for measure in part.findall("measure"):
        now, end, last = begin, begin, begin
        for element in measure:
            divisions = int(element.findtext("divisions") or divisions)
            length = int(element.findtext("duration") or 0) * PER_QUARTER / divisions
            if element.tag == "backup":
                now -= length
            elif element.tag == "forward":
                now += length
            elif element.tag == "note" and element.find("duration") is not None:
                start = last if element.find("chord") is not None else now
                pitch = element.find("pitch")
                if pitch is not None:
                    is_tied = any(tie.get("type") == "stop" for tie in element.findall("tie"))
                    yield start, _number(pitch), length, is_tied
                last = start
                now = max(now, start + length)
            end = max(end, now)
        begin = end


def _number(pitch: ElementTree.Element) -> int:
    """Return the MIDI number of a pitch."""
    step, octave, alter = (pitch.findtext(key) or "0" for key in ("step", "octave", "alter"))
    return 12 * (int(octave) + 1) + _STEPS[step] + round(float(alter))


def _joined(notes: Iterator[tuple[float, int, float, bool]]) -> list[Note]:
    """Return notes in which those that are tied to one before are part of it."""
    found: list[list[float]] = []
    for start, pitch, length, is_tied in notes:
        before = next((note for note in reversed(found) if note[1] == pitch), None) if is_tied else None
        if before is not None and before[0] + before[2] == start:
            before[2] += length
        else:
            found.append([start, pitch, length])
    return [Note(round(start), int(pitch), max(1, round(length))) for start, pitch, length in found]

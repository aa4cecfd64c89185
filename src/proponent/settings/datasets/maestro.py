"""MAESTRO (Hawthorne et al., 2019): piano performances as events, for the published benchmarks of music generation."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from proponent.errors import UserError
from proponent.extras import how_to_install
from proponent.settings.datasets.next_tokens import SPECIAL, next_token_rows
from proponent.settings.sources import read_members
from proponent.settings.split import Split

PITCHES, WAITS, VELOCITIES = 128, 100, 32
_STEP = 0.01
"""Seconds per unit of waiting."""
NAMES = [
    *SPECIAL,
    *(f"on {pitch}" for pitch in range(PITCHES)),
    *(f"off {pitch}" for pitch in range(PITCHES)),
    *(f"wait {10 * step} ms" for step in range(1, WAITS + 1)),
    *(f"velocity {4 * level}" for level in range(VELOCITIES)),
]
"""Names of the 388 events of the Music Transformer (Huang et al., 2018), behind padding and start."""
_ON = len(SPECIAL)
_OFF = _ON + PITCHES
_WAIT = _OFF + PITCHES - 1
_VELOCITY = _WAIT + 1 + WAITS


def read_performances(path: str, part: str) -> list[list[int]]:
    """Return the events of each performance of a part, in the order of the table.

    Args:
        path: the archive ``maestro-v3.0.0-midi.zip``, or the folder that is in it.
        part: ``train``, ``validation`` or ``test``.

    Raises:
        UserError: there is no table of performances, no such part, or mido is not installed.
    """
    files = _files(path)
    table = next((content for name, content in sorted(files.items()) if name.endswith(".csv")), None)
    if table is None:
        raise UserError(f"{path}: has no table of performances (.csv); place maestro-v3.0.0-midi.zip there")
    rows = [row for row in csv.DictReader(io.StringIO(table.decode())) if row["split"] == part]
    if not rows:
        raise UserError(f"{path}: has no performances of the part '{part}'; place the whole archive there")
    by_end = {name.partition("/")[2] or name: content for name, content in files.items()} | files
    return [events(by_end[row["midi_filename"]], row["midi_filename"]) for row in rows]


def _files(path: str) -> dict[str, bytes]:
    """Return table and performances of an archive or a folder, by name."""
    wanted = (".csv", ".midi", ".mid")
    if Path(path).is_file():
        return dict(read_members(Path(path), lambda name: name.endswith(wanted)))
    found = (
        [file for file in sorted(Path(path).rglob("*")) if file.suffix in wanted]
        if Path(path).is_dir()
        else []
    )
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in found}


def events(content: bytes, name: str) -> list[int]:
    """Return the events of a performance.

    Args:
        content: bytes of a MIDI file.
        name: name of the file, for messages.

    Raises:
        UserError: it is not a MIDI file, or mido is not installed.
    """
    try:
        import mido
    except ImportError as error:
        raise UserError(f"MIDI files need mido; {how_to_install('mido')}") from error
    try:
        file = mido.MidiFile(file=io.BytesIO(content))
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{name}: is not a MIDI file ({error}); copy it again") from error
    return _tokens(file)


def _tokens(messages: Iterable[Any]) -> list[int]:
    """Return the events of messages whose ``time`` is in seconds since the message before."""
    found: list[int] = []
    now, written, velocity = 0.0, 0, -1
    for message in messages:
        now += message.time
        if message.type not in ("note_on", "note_off"):
            continue
        steps = round(now / _STEP) - written
        written += steps
        found += [_WAIT + WAITS] * (steps // WAITS) + ([_WAIT + steps % WAITS] if steps % WAITS else [])
        if message.type == "note_on" and message.velocity:
            level = message.velocity * VELOCITIES // 128
            found += [_VELOCITY + level] if level != velocity else []
            velocity = level
            found.append(_ON + message.note)
        else:
            found.append(_OFF + message.note)
    return found


def maestro(path: str, length: int = 256, n_train: int = 5000, n_query: int = 200, seed: int = 0) -> Split:
    """Return parts of performances as events, (n, length), and the event that follows at each position.

    Parts are consecutive, and the rest of a performance is left out. Queries are parts of the test performances.

    Args:
        path: as in :func:`read_performances`.
        length: events per part.
        n_train: number of training examples.
        n_query: number of queries.
        seed: seed of the draw and of the order.

    Raises:
        UserError: the files cannot be read, or there are not as many parts.
    """
    generator = np.random.default_rng(seed)
    found = {}
    for part, key, wanted in (("train", "n_train", n_train), ("test", "n_query", n_query)):
        pieces = [
            piece for events_of in read_performances(path, part) for piece in _pieces(events_of, length)
        ]
        if not 0 < wanted <= len(pieces):
            raise UserError(f"dataset.args.{key} must lie between 1 and {len(pieces)}, not {wanted}")
        chosen = [pieces[row] for row in generator.permutation(len(pieces))[:wanted]]
        found[part] = next_token_rows(chosen, length)
    return Split(train=found["train"], query=found["test"], card="maestro", token_names=NAMES)


def _pieces(tokens: Sequence[int], length: int) -> list[Sequence[int]]:
    return [tokens[start : start + length] for start in range(0, len(tokens) - length + 1, length)]

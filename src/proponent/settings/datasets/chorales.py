"""Chorales of Johann Sebastian Bach in four parts, as tokens of music, from the corpus of music21."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np

from proponent.errors import UserError
from proponent.settings.datasets.music_events import NAMES, events, windows
from proponent.settings.datasets.musicxml import read_parts
from proponent.settings.datasets.next_tokens import next_token_rows
from proponent.settings.sources import Package, Registry, fetch_package, read_members
from proponent.settings.split import Split

PACKAGE = Package(
    Registry.pypi,
    "music21",
    "10.5.1",
    "dc3309498c4c95cebdf8d4f20c868deb6b63bce1d929cad4f51a7ccc982987b1",
)
PARTS = 4
_SCORE = re.compile(r"music21/corpus/bach/[^/]+\.mxl")


@cache
def read_chorales(archive: Path) -> list[list[list[int]]]:
    """Return the tokens of each time of the pieces in four parts, in the order of their names.

    Args:
        archive: the package, or one of the same format.

    Raises:
        UserError: it has no such piece, or a score cannot be read.
    """
    files = sorted(read_members(archive, lambda name: _SCORE.fullmatch(name) is not None))
    scores = [read_parts(content, name) for name, content in files]
    found = [events(note for part in parts for note in part) for parts in scores if len(parts) == PARTS]
    if not found:
        raise UserError(f"{archive}: has no chorales in four parts; check the version of the package")
    return found


def chorales(
    n_train: int = 1200, n_query: int = 200, length: int = 128, held_out: float = 0.2, seed: int = 0
) -> Split:
    """Return parts of chorales as tokens, (n, length), and the token that follows at each position.

    Queries are parts of pieces of which nothing is trained on. Pieces of the same melody are different pieces, so that a
    query may have relatives among the training examples.

    Args:
        n_train: number of training examples.
        n_query: number of queries.
        length: positions per example, about three bars for 128; shorter ones are padded.
        held_out: share of the pieces that are left to the queries.
        seed: seed of the choice of pieces and of the order.

    Raises:
        UserError: there are not as many examples, or the package cannot be had.
    """
    pieces = [windows(times, length) for times in read_chorales(fetch_package(PACKAGE))]
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(pieces))
    apart = round(held_out * len(pieces))
    found = {}
    for key, rows, wanted in (("n_query", order[:apart], n_query), ("n_train", order[apart:], n_train)):
        own = [part for row in rows for part in pieces[row]]
        if not 0 < wanted <= len(own):
            raise UserError(f"dataset.args.{key} must lie between 1 and {len(own)}, not {wanted}")
        found[key] = next_token_rows([own[row] for row in generator.permutation(len(own))[:wanted]], length)
    return Split(train=found["n_train"], query=found["n_query"], card="chorales", token_names=NAMES)

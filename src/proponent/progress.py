"""Progress with an estimate of the time left, readable on a terminal and in a log file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield ``items`` while reporting how far along they are on stderr.

    Args:
        items: what to loop over.
        description: what is being done, e.g. ``"training 50 models"``.
        total: number of items, where ``items`` has no length.

    Yields:
        The items, unchanged.
    """
    on_terminal = sys.stderr.isatty()
    yield from tqdm(
        items,
        desc=description,
        total=total,
        file=sys.stderr,
        mininterval=0.5 if on_terminal else 5.0,
        ascii=not on_terminal,
        leave=True,
    )

"""Progress with an estimate of the time left, readable on a terminal and in a log file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")
_open: list[Any] = []
"""Bars that are not finished."""


def progress(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield ``items`` and report on stderr how many of them are done, if all of them take more than a second.

    Args:
        items: items to loop over.
        description: label of the bar, for example ``"training 50 models"``.
        total: number of items, for ``items`` without a length.

    Yields:
        The items, unchanged.
    """
    on_terminal = sys.stderr.isatty()
    bar = tqdm(
        items,
        desc=description,
        total=total,
        file=sys.stderr,
        mininterval=0.5 if on_terminal else 5.0,
        ascii=not on_terminal,
        delay=1.0,
        leave=True,
        position=None if on_terminal else 0,  # in a log, a bar cannot return to the line above
    )
    _open.append(bar)
    try:
        yield from bar
    finally:
        _open.remove(bar)


def end_bars() -> None:
    """End the line of each bar that is not finished, so that the next message begins a line."""
    for bar in _open:
        bar.close()

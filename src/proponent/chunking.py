"""Cutting a range of items into chunks; the one place that decides where a chunk begins and ends."""

from __future__ import annotations

from collections.abc import Iterator


def chunks(total: int, size: int) -> Iterator[slice]:
    """Yield slices that cover ``range(total)`` in order, each of ``size`` items; the last may be shorter.

    Args:
        total: number of items.
        size: items per chunk; a size below 1 counts as 1, so that a memory budget too small for one item still
            makes progress.
    """
    size = max(1, size)
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))

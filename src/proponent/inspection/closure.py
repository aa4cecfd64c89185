"""Reachability in a graph of artefacts: the one function behind provenance, verification and forecasts."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def closure(starts: Iterable[str], neighbours: Callable[[str], Iterable[str]]) -> list[str]:
    """Return the names that can be reached from ``starts``, these included, depth first and each once.

    Not ``networkx.descendants``, which needs a graph object of its own, gives no order, and takes longer to import than the
    traversal of a whole benchmark.

    Args:
        starts: names at which the traversal begins.
        neighbours: function that returns the names one edge away from a name.
    """
    seen: dict[str, None] = {}
    pending = list(starts)[::-1]
    while pending:
        name = pending.pop()
        if name not in seen:
            seen[name] = None
            pending.extend(reversed(list(neighbours(name))))
    return list(seen)

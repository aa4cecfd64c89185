"""Marks that several figures share: a value with its interval, and the ceilings of a setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from matplotlib.axes import Axes

from proponent.publish.figures.style import BLUE, GREY, VERMILION, plain

CEILING_DASHES = (0, (4, 2))
ADDITIVE_DASHES = (0, (1, 2))


def dot(axes: Axes, row: int, entry: Mapping[str, Any], first: bool, size: float = 6.5) -> None:
    """Draw the value of one method as a dot in its row, with its interval.

    Args:
        axes: panel with one row per method.
        row: number of the row.
        entry: ``value``, ``ci_low`` and ``ci_high``.
        first: whether the method has rank 1; its dot is filled, others are hollow.
        size: diameter of the dot in points.
    """
    ends = entry["ci_low"], entry["ci_high"]
    axes.plot(ends, (row, row), color=BLUE, lw=1.6, alpha=0.75, solid_capstyle="butt")
    axes.plot(entry["value"], row, "o", ms=size, mfc=BLUE if first else "white", mec=BLUE, mew=size / 4.5)


def ceilings(axes: Axes, entry: Mapping[str, Any], direction: Literal["vertical", "horizontal"]) -> None:
    """Draw the ceilings that all methods of a setting share: dashed, and dotted for a sum of scores.

    Args:
        axes: panel on which to draw.
        entry: ``ceiling`` and ``ceiling_additive``; a ceiling that is absent or None is not drawn.
        direction: direction of the lines.
    """
    line = axes.axvline if direction == "vertical" else axes.axhline
    for name, width, dashes in (("ceiling", 1.3, CEILING_DASHES), ("ceiling_additive", 1.1, ADDITIVE_DASHES)):
        if entry.get(name) is not None:
            line(entry[name], color=VERMILION, lw=width, ls=dashes, zorder=1)


def ceiling_label(entry: Mapping[str, Any]) -> str:
    """Return the values of both ceilings, or of the one that is known, as a label."""
    if entry.get("ceiling_additive") is None:
        return f"ceiling {entry['ceiling']:.3f}"
    return f"ceiling {entry['ceiling']:.3f}, of sums {entry['ceiling_additive']:.3f}"


def finish(axes: Axes, methods: Sequence[str]) -> None:
    """Set the rows, their names and the range of a panel of dots."""
    axes.set_yticks(range(len(methods)), list(methods))
    axes.set_ylim(len(methods) - 0.4, -0.6)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -0.06), min(max(high, 1.0), 1.02))
    axes.axvline(0, color=GREY, lw=0.8, zorder=0)
    plain(axes, "x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)

"""LDS figure: how well the scores of each method of a setting predict retraining."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from proponent.publish.figures.marks import ceiling_label, ceilings, dot, finish
from proponent.publish.figures.style import (
    GREY,
    INK,
    VERMILION,
    WIDTH,
    footnote_height,
    footnotes,
    heading,
    new_figure,
    styled,
    text_width,
    write_footnotes,
)
from proponent.publish.ranking import Ranking

_ROW = 0.27
_TOP, _BOTTOM = 0.98, 0.62


@styled
def draw(ranking: Ranking) -> Figure:
    """Return a dot with its interval for each method, best first, and the ceilings as lines.

    Methods with rank 1 are filled, the others hollow. The values are written on the right. Methods without ``lds`` are
    named below the panel, with their reasons.
    """
    entries = ranking.entries("lds")
    ordered = sorted(entries, key=lambda method: (-entries[method]["value"], method))
    notes = footnotes(
        f"{', '.join(methods)}: {note}"
        for note, methods in ranking.methods_by_note.items()
        if methods[0] in ranking.without_scores
    )
    bottom = _BOTTOM + footnote_height(notes)
    height = _TOP + bottom + _ROW * max(len(ordered), 1)
    figure = new_figure(height)
    heading(figure, f"{ranking.setting}: which scores predict retraining?", _subtitle(entries))
    left = 0.3 + text_width(figure, ordered, 9.5)
    box = (left, bottom, WIDTH - left - 1.75, height - _TOP - bottom)
    axes = figure.add_axes((box[0] / WIDTH, box[1] / height, box[2] / WIDTH, box[3] / height))
    for row, method in enumerate(ordered):
        first = ranking.ranks["lds"][method] == 1
        dot(axes, row, entries[method], first)
        axes.annotate(
            _value(entries[method]),
            (1.02, row),
            xycoords=("axes fraction", "data"),
            va="center_baseline",
            size=8.5,
            color=INK if first else GREY,
        )
    if ordered:
        _draw_ceilings(axes, entries[ordered[0]])
    finish(axes, ordered)
    axes.set_xlabel("LDS: rank correlation of predicted and retrained targets over subsets")
    write_footnotes(figure, notes)
    return figure


def _draw_ceilings(axes: Axes, entry: Mapping[str, Any]) -> None:
    """Draw the ceilings with their values, and the interval of the first as a band."""
    ceilings(axes, entry, "vertical")
    if entry.get("ceiling") is None:
        return
    if entry.get("ceiling_low") is not None:
        axes.axvspan(entry["ceiling_low"], entry["ceiling_high"], color=VERMILION, alpha=0.13, lw=0, zorder=0)
    axes.annotate(
        ceiling_label(entry),
        (entry["ceiling"], 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center" if entry.get("ceiling_additive") is None else "right",
        va="bottom",
        size=9,
        color=VERMILION,
    )


def _value(entry: Mapping[str, Any]) -> str:
    return f"{entry['value']:.3f}  [{entry['ci_low']:.3f}, {entry['ci_high']:.3f}]".replace("-", "−")


def _subtitle(entries: Mapping[str, Mapping[str, Any]]) -> str:
    entry = next(iter(entries.values()), None)
    if entry is None:
        return "No method has been evaluated."
    size = ""
    if "n_subsets" in entry:
        size = f"{entry['n_subsets']} subsets × {entry['n_seeds']} seeds, {entry['n_queries']} test queries. "
    return f"{size}Bars: 95 % intervals.\nFilled: the best method, and those that the data cannot distinguish from it."

"""Overview figure: the LDS of every method, one panel per setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from proponent.publish.figures.marks import ceilings, dot, finish
from proponent.publish.figures.style import (
    GREY,
    footnote_height,
    footnotes,
    heading,
    new_figure,
    styled,
    text_width,
    write_footnotes,
)
from proponent.publish.ranking import Ranking

_ROW = 0.235
_TOP, _BOTTOM, _GAP = 1.27, 0.32, 0.58
_RIGHT, _BETWEEN = 0.15, 0.2
_COLUMNS = 5
_DOT = 3.8


@styled
def draw(rankings: Sequence[Ranking], failed: Mapping[str, str] | None = None) -> Figure:
    """Return panels of LDS, intervals and ceilings whose rows are the same methods, the best on average first.

    Methods with rank 1 of a setting are filled, the others hollow.

    Args:
        rankings: leaderboards of the settings, in the order of the panels; those without ``lds`` are left out.
        failed: reason by setting without a leaderboard, written below the panels.
    """
    panels = {ranking.setting: ranking for ranking in rankings if ranking.entries("lds")}
    methods = best_first([ranking.entries("lds") for ranking in panels.values()])
    lines = -(-len(panels) // _COLUMNS) or 1
    columns = -(-len(panels) // lines) or 1
    panel = _ROW * len(methods) + 0.1
    absent = {
        ranking.setting: f"without scores: {', '.join(ranking.without_scores)}"
        for ranking in rankings
        if ranking.without_scores
    }
    notes = footnotes(f"{setting}: {why}" for setting, why in {**(failed or {}), **absent}.items())
    bottom_edge = _BOTTOM + footnote_height(notes)
    figure = new_figure(_TOP + lines * panel + (lines - 1) * _GAP + bottom_edge)
    width, height = figure.get_size_inches()
    heading(
        figure,
        "Which attribution methods can you trust?",
        "LDS: how well scores predict the effect of retraining on random subsets of the data; 1 = perfectly.\n"
        "Bars: 95 % intervals. Filled: the best method, and those that the data cannot distinguish from it.\n"
        "Dashed: ceiling set by retraining noise. Dotted: ceiling of any sum of scores, where it was measured.",
    )
    names = 0.25 + text_width(figure, methods, 9.5)
    span = (width - names - _RIGHT - (columns - 1) * _BETWEEN) / columns
    for number, ranking in enumerate(panels.values()):
        line, column = divmod(number, columns)
        left = names + column * (span + _BETWEEN)
        bottom = height - _TOP - (line + 1) * panel - line * _GAP
        axes = figure.add_axes((left / width, bottom / height, span / width, panel / height))
        _draw_panel(axes, ranking, methods)
        if column:
            axes.set_yticklabels([])
    if not panels:
        figure.text(0.5, 0.3, "No setting has an LDS yet.", ha="center", color=GREY)
    write_footnotes(figure, notes)
    return figure


def _draw_panel(axes: Axes, ranking: Ranking, methods: Sequence[str]) -> None:
    entries = ranking.entries("lds")
    for row, method in enumerate(methods):
        if method in entries:
            dot(axes, row, entries[method], first=ranking.ranks["lds"][method] == 1, size=_DOT)
    ceilings(axes, next(iter(entries.values())), "vertical")
    finish(axes, methods)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_title(ranking.setting, loc="left", weight="bold")


def best_first(panels: Sequence[Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """Return all methods by their average distance from the median method of a setting, the best one first.

    The distance, not the value, is averaged because a method need not have run on every setting.

    Args:
        panels: entry of the metric by method, for each setting.
    """
    distances: dict[str, list[float]] = {}
    for entries in panels:
        middle = median(entry["value"] for entry in entries.values())
        for method, entry in entries.items():
            distances.setdefault(method, []).append(entry["value"] - middle)
    return sorted(distances, key=lambda method: (-fmean(distances[method]), method))

"""Coreset figure: accuracy after training on a share of the examples, by the method that chose them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from proponent.publish.figures.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    SKY,
    VERMILION,
    heading,
    new_figure,
    plain,
    styled,
)

_COLOURS = (VERMILION, BLUE, GREEN, SKY, INK)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@styled
def draw(setting: str, entries: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Return a curve with its intervals for each method, and those of random examples and of all examples.

    Args:
        setting: name of the setting.
        entries: ``coreset_keep_best`` of ``results/S/metrics/M.json`` by method, the most important method first. Lines
            differ by marker as well as by colour.
    """
    first = next(iter(entries.values()))
    figure = new_figure(4.2)
    heading(
        figure,
        f"{setting}: which examples are worth keeping?",
        f"{str(first['utility']).capitalize()} on the test queries after training on a share of the examples.\n"
        "They are chosen by their mean score over the tune queries. Bars: 95 % intervals over the test queries.",
    )
    axes = figure.add_axes((0.085, 0.13, 0.66, 0.64))
    axes.axhline(first["all"], color=GREY, lw=1, ls=":", label="all examples")
    _line(axes, first, "random", label="random examples", color=GREY, marker="x", ls="--")
    for index, (method, entry) in enumerate(entries.items()):
        colour, marker = _COLOURS[index % len(_COLOURS)], _MARKERS[index % len(_MARKERS)]
        _line(axes, entry, "best", label=method, color=colour, marker=marker, lw=2 if index == 0 else 1.2)
    axes.set(xlabel="share of the training set that is kept", ylabel=first["utility"])
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    plain(axes)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=9)
    return figure


def _line(axes: Any, entry: Mapping[str, Any], curve: str, **style: Any) -> None:
    points, low, high = (np.asarray(entry[f"curve_{curve}{end}"]) for end in ("", "_low", "_high"))
    bars = np.maximum(np.stack([points - low, high - points]), 0)
    axes.errorbar(entry["shares"], points, yerr=bars, ms=4, elinewidth=0.8, capsize=2, **style)

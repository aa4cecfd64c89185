"""How well each method of a setting predicts retraining: LDS with its interval, and the ceiling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from proponent.publish.figures.style import (
    BLUE,
    GREY,
    INK,
    VERMILION,
    WIDTH,
    heading,
    new_figure,
    plain,
    styled,
    text_width,
)

ADDITIVE_DASHES = (0, (1, 2))
"""Of the line at the ceiling of a sum of scores."""
_ROW = 0.27
_TOP, _BOTTOM = 0.98, 0.62


@styled
def draw(setting: str, documents: Sequence[Mapping[str, Any]], ranks: Mapping[str, int]) -> Figure:
    """Return a dot with a whisker for each method, best first, and the ceiling as a line with its interval.

    Methods that share rank 1 are filled, the others hollow. Values stand at the right.

    Args:
        setting: name of the setting.
        documents: contents of ``results/S/metrics/M.json`` of this setting; those without ``lds`` are left
            out.
        ranks: rank by LDS of each method.
    """
    entries = {d["method"]: d["metrics"]["lds"] for d in documents if "lds" in d["metrics"]}
    ordered = sorted(entries, key=lambda method: (-entries[method]["value"], method))
    height = _TOP + _BOTTOM + _ROW * max(len(ordered), 1)
    figure = new_figure(height)
    heading(figure, f"{setting}: which scores predict retraining?", _subtitle(entries))
    left = 0.3 + text_width(figure, ordered, 9.5)
    box = (left, _BOTTOM, WIDTH - left - 1.75, height - _TOP - _BOTTOM)
    axes = figure.add_axes((box[0] / WIDTH, box[1] / height, box[2] / WIDTH, box[3] / height))
    for row, method in enumerate(ordered):
        dot(axes, row, entries[method], first=ranks[method] == 1)
        axes.annotate(
            _value(entries[method]),
            (1.02, row),
            xycoords=("axes fraction", "data"),
            va="center_baseline",
            size=8.5,
            color=INK if ranks[method] == 1 else GREY,
        )
    if ordered:
        ceiling(axes, entries[ordered[0]], labelled=True)
    finish(axes, ordered)
    axes.set_xlabel("LDS: rank correlation of predicted and retrained targets over subsets")
    return figure


def dot(axes: Axes, row: int, entry: Mapping[str, Any], first: bool, size: float = 6.5) -> None:
    """Draw the value and the interval of one method in a row."""
    ends = entry["ci_low"], entry["ci_high"]
    axes.plot(ends, (row, row), color=BLUE, lw=1.6, alpha=0.75, solid_capstyle="butt")
    axes.plot(entry["value"], row, "o", ms=size, mfc=BLUE if first else "white", mec=BLUE, mew=size / 4.5)


def ceiling(axes: Axes, entry: Mapping[str, Any], labelled: bool) -> None:
    """Draw the ceilings that all methods of the setting share: of any prediction, with its interval, and of a sum."""
    value = entry.get("ceiling")
    if value is None or value != value:
        return
    axes.axvline(value, color=VERMILION, lw=1.3, ls=(0, (4, 2)), zorder=1)
    low, high = entry.get("ceiling_low"), entry.get("ceiling_high")
    if low is not None and high is not None:
        axes.axvspan(low, high, color=VERMILION, alpha=0.13, lw=0, zorder=0)
    additive = entry.get("ceiling_additive")
    if additive is not None:
        axes.axvline(additive, color=VERMILION, lw=1.1, ls=ADDITIVE_DASHES, zorder=1)
    if labelled:
        axes.annotate(
            f"ceiling {value:.3f}" if additive is None else f"ceiling {value:.3f}, of sums {additive:.3f}",
            (value, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center" if additive is None else "right",
            va="bottom",
            size=9,
            color=VERMILION,
        )


def finish(axes: Axes, methods: Sequence[str]) -> None:
    """Set rows, names and the range of a panel of dots."""
    axes.set_yticks(range(len(methods)), list(methods))
    axes.set_ylim(len(methods) - 0.4, -0.6)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -0.06), min(max(high, 1.0), 1.02))
    axes.axvline(0, color=GREY, lw=0.8, zorder=0)
    plain(axes, "x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _value(entry: Mapping[str, Any]) -> str:
    return f"{entry['value']:.3f}  [{entry['ci_low']:.3f}, {entry['ci_high']:.3f}]".replace("-", "−")


def _subtitle(entries: Mapping[str, Mapping[str, Any]]) -> str:
    entry = next(iter(entries.values()), None)
    if entry is None:
        return "No method has been evaluated."
    size = ""
    if "n_subsets" in entry:
        size = f"{entry['n_subsets']} subsets × {entry['n_seeds']} seeds, {entry['n_queries']} test queries. "
    return f"{size}Whiskers: 95 % intervals.\nFilled: the best, and those that the data cannot tell from it."

"""Quality against cost: which methods nobody beats for the time they take."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from matplotlib.transforms import Bbox

from proponent.publish.figures.lds_figure import ADDITIVE_DASHES
from proponent.publish.figures.style import BLUE, GREY, INK, VERMILION, heading, new_figure, plain, styled
from proponent.publish.figures.text_labels import Label, place

_SHORTEST = 0.01
"""Seconds; what is faster is drawn there, since a logarithm needs a beginning."""
_TICKS = (
    *((0.001, "1 ms"), (0.01, "10 ms"), (0.1, "0.1 s"), (1, "1 s"), (10, "10 s")),
    *(
        (60, "1 min"),
        (600, "10 min"),
        (3600, "1 h"),
        (36e3, "10 h"),
        (36e4, "100 h"),
        (36e5, "1,000 h"),
        (36e6, "10,000 h"),
    ),
)


@styled
def draw(setting: str, documents: Sequence[Mapping[str, Any]]) -> Figure:
    """Return LDS against total seconds (log), the undominated methods filled, joined and labelled in bold.

    A method is undominated if no other one is at least as good and at least as fast, and better in one of the
    two. The step line is the best LDS to be had within a given time.

    Args:
        setting: name of the setting.
        documents: contents of ``results/S/metrics/M.json`` of this setting; those without ``lds`` or cost are
            left out.
    """
    points = {
        d["method"]: (max(float(d["cost"]["total_seconds"]), _SHORTEST), d["metrics"]["lds"])
        for d in documents
        if "lds" in d["metrics"] and d["cost"].get("total_seconds") is not None
    }
    figure = new_figure(4.9)
    heading(
        figure,
        f"{setting}: what does quality cost?",
        "Total time includes everything a method needs: training its models, features, scores.\n"
        "Whiskers: 95 % intervals. Filled and joined: no other method is both as good and as fast.",
    )
    axes = figure.add_axes((0.08, 0.115, 0.9, 0.715))
    axes.set_xscale("log")
    best = undominated({method: (seconds, entry["value"]) for method, (seconds, entry) in points.items()})
    for method, (seconds, entry) in points.items():
        leads = method in best
        color = BLUE if leads else GREY
        axes.plot([seconds] * 2, [entry["ci_low"], entry["ci_high"]], color=color, lw=1.2, alpha=0.45)
        axes.plot(seconds, entry["value"], "o", ms=6.5, mfc=color if leads else "white", mec=color, mew=1.4)
    _limits(axes, points)
    front = sorted((points[method][0], points[method][1]["value"]) for method in best)
    obstacles = [
        _span(axes, (seconds, entry["ci_low"]), (seconds, entry["ci_high"]))
        for seconds, entry in points.values()
    ]
    if front:
        corners = [front[0]]
        for seconds, value in [*front[1:], (axes.get_xlim()[1], front[-1][1])]:
            corners += [(seconds, corners[-1][1]), (seconds, value)]
        axes.plot(*zip(*corners, strict=True), color=BLUE, lw=1.1, alpha=0.55, zorder=1)
        obstacles += [_span(axes, start, end) for start, end in pairwise(corners)]
    ceiling = next((entry.get("ceiling") for _, entry in points.values()), None)
    additive = next((entry.get("ceiling_additive") for _, entry in points.values()), None)
    if additive is not None:
        axes.axhline(additive, color=VERMILION, lw=1.1, ls=ADDITIVE_DASHES, zorder=1)
    if ceiling is not None:
        axes.axhline(ceiling, color=VERMILION, lw=1.3, ls=(0, (4, 2)), zorder=1)
        sums = "" if additive is None else f", of sums {additive:.3f}"
        text = axes.annotate(
            f"ceiling {ceiling:.3f}{sums}", (0.004, ceiling), xycoords=("axes fraction", "data"), xytext=(0, 3),
            textcoords="offset points", size=9, color=VERMILION,
        )  # fmt: skip
        obstacles.append(Bbox(text.get_window_extent().get_points()))
    axes.set_xlabel("total time from raw data to scores", loc="left")
    axes.set_ylabel("LDS")
    limits = axes.get_xlim()
    axes.set_xticks(*zip(*((s, name) for s, name in _TICKS if limits[0] <= s <= limits[1]), strict=True))
    axes.xaxis.set_minor_locator(NullLocator())
    plain(axes)
    order = sorted(points, key=lambda method: (method not in best, -points[method][1]["value"], method))
    labels = [
        Label(
            points[method][0],
            points[method][1]["value"],
            method,
            {"size": 9, "color": INK, "weight": "bold"} if method in best else {"size": 8.5, "color": GREY},
        )
        for method in order
    ]
    left_out = place(axes, labels, obstacles)
    if left_out:
        names = textwrap.shorten(", ".join(left_out), 70, placeholder=" …")
        figure.text(0.98, 0.03, f"no room to name {names}", size=7.5, color=GREY, ha="right")
    return figure


def undominated(points: Mapping[str, tuple[float, float]]) -> set[str]:
    """Return the methods, of (seconds, quality), that no other one matches in both and beats in one."""
    return {
        method
        for method, (seconds, quality) in points.items()
        if not any(s <= seconds and v >= quality and (s < seconds or v > quality) for s, v in points.values())
    }


def _span(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> Bbox:
    """Return the box in pixels around an upright or level line."""
    box = Bbox(axes.transData.transform([start, end]))
    return Bbox.from_extents(box.xmin - 1, box.ymin - 1, box.xmax + 1, box.ymax + 1)


def _limits(axes: Axes, points: Mapping[str, tuple[float, Mapping[str, Any]]]) -> None:
    """Leave room for labels at both sides; never less than a factor of ten between the ends."""
    if not points:
        return
    seconds = [s for s, _ in points.values()]
    low, high = min(seconds), max(seconds)
    spread = max((high / low) ** 0.16, 1.8)
    axes.set_xlim(low / spread, max(high * spread, 15 * low))
    ceiling = next(iter(points.values()))[1].get("ceiling") or 0.0
    bottom = min(entry["ci_low"] for _, entry in points.values())
    top = max(ceiling, *(entry["ci_high"] for _, entry in points.values()))
    axes.set_ylim(min(bottom, 0.0) - 0.05, min(top + 0.08, 1.08))

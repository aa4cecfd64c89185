"""Frontier figure: LDS against total time, with the methods that no other method dominates."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from matplotlib.transforms import Bbox

from proponent.publish.figures.marks import ceiling_label, ceilings
from proponent.publish.figures.style import BLUE, GREY, INK, VERMILION, heading, new_figure, plain, styled
from proponent.publish.figures.text_labels import Label, place
from proponent.publish.ranking import Ranking

_SHORTEST = 0.01
"""Seconds at which faster methods are drawn, because a logarithmic axis has no zero."""
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


@dataclass(frozen=True)
class Point:
    """One method: its total time and its LDS."""

    seconds: float
    entry: Mapping[str, Any]
    """Entry ``lds`` of the method's document."""

    @property
    def value(self) -> float:
        """LDS of the method."""
        return float(self.entry["value"])

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return float(self.entry["ci_low"])

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return float(self.entry["ci_high"])


@styled
def draw(ranking: Ranking) -> Figure:
    """Return LDS against total seconds (log), with the undominated methods filled, joined and labelled in bold.

    A method is undominated if no other method is at least as good and at least as fast, and better in one of the
    two. The step line is the best LDS within a given time. Methods without ``lds`` or cost are left out.
    """
    entries = ranking.entries("lds")
    points = {
        document["method"]: Point(
            max(float(document["cost"]["total_seconds"]), _SHORTEST), entries[document["method"]]
        )
        for document in ranking.documents
        if document["method"] in entries and document["cost"].get("total_seconds") is not None
    }
    best = undominated({method: (point.seconds, point.value) for method, point in points.items()})
    figure = new_figure(4.9)
    heading(
        figure,
        f"{ranking.setting}: what does quality cost?",
        "Total time includes everything a method needs: training its models, features, scores.\n"
        "Bars: 95 % intervals. Filled and joined: no other method is both as good and as fast.",
    )
    axes = figure.add_axes((0.08, 0.115, 0.9, 0.715))
    _set_axes(axes, points)
    for method, point in points.items():
        color = BLUE if method in best else GREY
        axes.plot([point.seconds] * 2, [point.low, point.high], color=color, lw=1.2, alpha=0.45)
        fill = color if method in best else "white"
        axes.plot(point.seconds, point.value, "o", ms=6.5, mfc=fill, mec=color, mew=1.4)
    obstacles = [
        _span(axes, (point.seconds, point.low), (point.seconds, point.high)) for point in points.values()
    ]
    obstacles += _draw_front(axes, [points[method] for method in best])
    obstacles += _draw_ceilings(axes, list(points.values()))
    left_out = place(axes, _labels(points, best), obstacles)
    if left_out:
        names = textwrap.shorten(", ".join(left_out), 70, placeholder=" …")
        figure.text(0.98, 0.03, f"not labelled for lack of room: {names}", size=7.5, color=GREY, ha="right")
    return figure


def undominated(points: Mapping[str, tuple[float, float]]) -> set[str]:
    """Return the methods that no other method matches in both time and quality and beats in one of them.

    Args:
        points: (seconds, quality) by method.
    """
    return {
        method
        for method, (seconds, quality) in points.items()
        if not any(s <= seconds and v >= quality and (s < seconds or v > quality) for s, v in points.values())
    }


def _set_axes(axes: Axes, points: Mapping[str, Point]) -> None:
    """Set scales, limits, ticks and labels; labels of points can be placed only when the limits are final."""
    axes.set_xscale("log")
    if points:
        # Room for labels on both sides, and at least a factor of 15 between the ends.
        low = min(point.seconds for point in points.values())
        high = max(point.seconds for point in points.values())
        spread = max((high / low) ** 0.16, 1.8)
        axes.set_xlim(low / spread, max(high * spread, 15 * low))
        ceiling = next(iter(points.values())).entry.get("ceiling") or 0.0
        top = max(ceiling, *(point.high for point in points.values()))
        axes.set_ylim(min(0.0, *(point.low for point in points.values())) - 0.05, min(top + 0.08, 1.08))
    axes.set_xlabel("total time from raw data to scores", loc="left")
    axes.set_ylabel("LDS")
    low, high = axes.get_xlim()
    axes.set_xticks(*zip(*((s, name) for s, name in _TICKS if low <= s <= high), strict=True))
    axes.xaxis.set_minor_locator(NullLocator())
    plain(axes)


def _draw_front(axes: Axes, best: Sequence[Point]) -> list[Bbox]:
    """Draw the best LDS within a given time as a step line; return the boxes in pixels that it covers."""
    if not best:
        return []
    first, *rest = sorted((point.seconds, point.value) for point in best)
    corners = [first]
    for seconds, value in [*rest, (axes.get_xlim()[1], [first, *rest][-1][1])]:
        corners += [(seconds, corners[-1][1]), (seconds, value)]
    axes.plot(*zip(*corners, strict=True), color=BLUE, lw=1.1, alpha=0.55, zorder=1)
    return [_span(axes, start, end) for start, end in pairwise(corners)]


def _draw_ceilings(axes: Axes, points: Sequence[Point]) -> list[Bbox]:
    """Draw the ceilings of the setting with their values; return the box in pixels of the label."""
    entry = points[0].entry if points else {}
    ceilings(axes, entry, "horizontal")
    if entry.get("ceiling") is None:
        return []
    text = axes.annotate(
        ceiling_label(entry),
        (0.004, entry["ceiling"]),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        size=9,
        color=VERMILION,
    )
    return [Bbox(text.get_window_extent().get_points())]


def _labels(points: Mapping[str, Point], best: Collection[str]) -> list[Label]:
    """Return the name of each method as a label, the most important first: undominated methods, then by LDS."""
    bold, thin = {"size": 9, "color": INK, "weight": "bold"}, {"size": 8.5, "color": GREY}
    return [
        Label(points[method].seconds, points[method].value, method, bold if method in best else thin)
        for method in sorted(points, key=lambda method: (method not in best, -points[method].value, method))
    ]


def _span(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> Bbox:
    """Return the box in pixels around a vertical or horizontal line."""
    box = Bbox(axes.transData.transform([start, end]))
    return Bbox.from_extents(box.xmin - 1, box.ymin - 1, box.xmax + 1, box.ymax + 1)

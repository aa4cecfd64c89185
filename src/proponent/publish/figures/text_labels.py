"""Placement of labels next to points, without overlaps.

Written here rather than with ``adjustText`` because the placement is deterministic and leaves out labels that do not fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

_MARGIN = 2.0
"""Distance in points of type between a label and everything around it."""
_LEADER = {"arrowstyle": "-", "lw": 0.6, "color": "#9A9A9A", "shrinkA": 0, "shrinkB": 4}
_POINT = 4.0
"""Radius of the free space around a data point, in points of type."""


@dataclass(frozen=True)
class Label:
    """Text of a data point, with the coordinates of the point."""

    x: float
    y: float
    text: str
    style: dict[str, Any] = field(default_factory=dict)


def place(axes: Axes, labels: Sequence[Label], obstacles: Sequence[Bbox] = ()) -> list[str]:
    """Write each label at the first position near its point where it covers nothing else.

    A label without a free position is not written. The limits and the layout of the axes must be final.

    Args:
        axes: axes of the points.
        labels: one label per point, the most important first; every point is kept free.
        obstacles: further boxes to keep free, in pixels.

    Returns:
        The texts of the labels that were not written.
    """
    unit = axes.figure.dpi / 72
    frame = axes.get_window_extent()
    centres = np.asarray([axes.transData.transform((label.x, label.y)) for label in labels])
    points = [_around(x, y, _POINT * unit) for x, y in centres]
    taken = [*obstacles]
    left_out = []
    for number, (label, (x, y)) in enumerate(zip(labels, centres, strict=True)):
        width, height = _size(axes, label)
        blocked = [*taken, *points[:number], *points[number + 1 :]]
        for dx, dy, with_leader in _offsets():
            px, py = dx * unit, dy * unit
            box = _box(x + px, y + py, np.sign(dx), np.sign(dy) * (not with_leader), width, height)
            parts = [_padded(box, _MARGIN * unit)]
            if with_leader:
                # The boxes are dense enough that two crossing leader lines always share one.
                along = np.linspace(_POINT * unit / np.hypot(px, py), 1, 2 + int(np.hypot(px, py) / 2))
                parts += [_around(x + t * px, y + t * py, 1.5) for t in along]
            if _inside(box, frame) and not any(part.overlaps(other) for part in parts for other in blocked):
                _write(axes, label, dx, dy, with_leader)
                taken += parts
                break
        else:
            left_out.append(label.text)
    return left_out


def _offsets() -> Iterator[tuple[float, float, bool]]:
    """Yield offsets in points of type, nearest first, and whether a leader line to the point is needed."""
    yield from ((7, 0, False), (-7, 0, False), (0, 6, False), (0, -6, False))
    yield from ((5, 5, False), (-5, 5, False), (5, -5, False), (-5, -5, False))
    for radius in (14, 20, 28, 38, 50, 64, 80):
        for degrees in (25, -25, 155, -155, 50, -50, 130, -130, 5, 175, 75, -75, 105, -105):
            angle = np.deg2rad(degrees)
            yield radius * float(np.cos(angle)), radius * float(np.sin(angle)), True


def _write(axes: Axes, label: Label, dx: float, dy: float, with_leader: bool) -> None:
    vertical = "center" if with_leader or dy == 0 else ("bottom" if dy > 0 else "top")
    axes.annotate(
        label.text,
        (label.x, label.y),
        xytext=(dx, dy),
        textcoords="offset points",
        ha="center" if dx == 0 else ("left" if dx > 0 else "right"),
        va=vertical,
        arrowprops={**_LEADER, "relpos": (float(dx < 0), 0.5)} if with_leader else None,
        **label.style,
    )


def _size(axes: Axes, label: Label) -> tuple[float, float]:
    text = axes.text(0, 0, label.text, **label.style)
    extent = text.get_window_extent()
    text.remove()
    return extent.width, extent.height


def _box(x: float, y: float, right: float, up: float, width: float, height: float) -> Bbox:
    """Return the box of a text that is anchored at (x, y): to its right or left, above or below, or centred (0)."""
    x0 = x + (right - 1) * width / 2
    y0 = y + (up - 1) * height / 2
    return Bbox.from_bounds(x0, y0, width, height)


def _around(x: float, y: float, radius: float) -> Bbox:
    return Bbox.from_extents(x - radius, y - radius, x + radius, y + radius)


def _padded(box: Bbox, margin: float) -> Bbox:
    return Bbox.from_extents(box.x0 - margin, box.y0 - margin, box.x1 + margin, box.y1 + margin)


def _inside(box: Bbox, frame: Bbox) -> bool:
    return bool(box.x0 >= frame.x0 and box.x1 <= frame.x1 and box.y0 >= frame.y0 and box.y1 <= frame.y1)

"""Proponents figure: the training examples that raise and lower the targets of a few queries most, for one method."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from proponent.publish.figures.style import BLUE, GREY, INK, VERMILION, heading, new_figure, styled

SHOWN = 5
"""Number of proponents, and of opponents, per query."""

_TOP, _BOTTOM, _CELL, _PICTURE = 1.22, 0.05, 1.22, 0.67


@dataclass(frozen=True)
class Item:
    """One example or query as it is drawn."""

    name: str
    """Identifier in the data: ``train 12``, ``query 3``."""
    label: str
    picture: NDArray[np.float64] | None = None
    """(h, w) or (h, w, 3); if None, the text or else the label is drawn in its place."""
    score: float | None = None
    text: str | None = None
    """Text of an example that is one."""


@dataclass(frozen=True)
class Case:
    """One query with its strongest proponents and opponents, strongest first."""

    query: Item
    proponents: Sequence[Item]
    opponents: Sequence[Item]


@styled
def draw(setting: str, method: str, cases: Sequence[Case]) -> Figure:
    """Return one row per query: the query, its proponents and its opponents, with labels and scores.

    Scores are divided by the largest absolute score of the row, because their unit differs between methods.
    """
    figure = new_figure(_TOP + _BOTTOM + _CELL * len(cases))
    width, height = figure.get_size_inches()
    heading(
        figure,
        f"{setting}: strongest proponents and opponents by {method}",
        "A proponent raises the query's target (a classifier's margin of the label), an opponent lowers it.\n"
        "Scores relative to the strongest of the row. Framed: proponents with another label, opponents with the same label.",
    )
    lefts = _lefts(float(width))
    heads = (("query", 0, INK), ("▲ proponents", 1, BLUE), ("▼ opponents", 1 + SHOWN, VERMILION))
    for text, column, color in heads:
        at = lefts[column] / width, 1 - (_TOP - 0.14) / height
        figure.text(*at, text, size=10, weight="bold", color=color)
    for row, case in enumerate(cases):
        items = [case.query, *_filled(case.proponents), *_filled(case.opponents)]
        scores = [abs(i.score) for i in items if i is not None and i.score is not None]
        largest = max(scores, default=0.0) or 1.0
        bottom = height - _TOP - row * _CELL - _PICTURE
        for column, item in enumerate(items):
            if item is not None:
                box = lefts[column] / width, bottom / height, _PICTURE / width, _PICTURE / height
                axes = figure.add_axes(box)
                color = INK if column == 0 else (BLUE if column <= SHOWN else VERMILION)
                surprising = column > 0 and (item.label == case.query.label) == (column > SHOWN)
                _show(axes, item, color, framed=surprising, largest=largest)
    return figure


def strongest(scores: NDArray[np.floating], count: int = SHOWN) -> tuple[list[int], list[int]]:
    """Return the rows of the strongest proponents and of the strongest opponents, strongest first.

    Args:
        scores: (n_train,) scores of one query. Ties are broken by row; an example with score 0 is neither.
        count: largest number of proponents, and of opponents.
    """
    order = np.argsort(-scores, kind="stable")
    backwards = np.argsort(scores, kind="stable")
    return (
        [int(i) for i in order[:count] if scores[i] > 0],
        [int(i) for i in backwards[:count] if scores[i] < 0],
    )


_CHANNELS = (1, 3, 4)


def as_picture(row: NDArray[np.floating], image_shape: Sequence[int] | None) -> NDArray[np.float64] | None:
    """Return an example as a picture with values between 0 and 1, or None if the data are not images.

    Args:
        row: one example, of any shape.
        image_shape: (height, width), (channels, height, width) or (height, width, channels) with 1, 3 or 4 channels, of
            which the fourth is opacity; None if the data are not images.
    """
    if image_shape is None:
        return None
    picture = np.asarray(row, dtype=np.float64).reshape(tuple(image_shape))
    if picture.ndim == 2:
        return _stretched(picture)
    first, last = len(picture), picture.shape[-1]
    if first == 1 or (first in _CHANNELS and last != 1):
        picture = np.moveaxis(picture, 0, -1)
    if picture.shape[-1] == 1:
        return _stretched(picture[..., 0])
    opacity = picture[..., 3:] / (255 if picture[..., 3:].max(initial=0) > 1 else 1)
    return np.concatenate([_stretched(picture[..., :3]), opacity.clip(0, 1)], axis=-1)


def _stretched(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values moved and scaled to the range from 0 to 1."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def _lefts(width: float) -> list[float]:
    """Return the left edges of the columns in inches: the query, a gap, proponents, a gap, opponents."""
    gap = 0.26
    step = (width - 0.24 - 2 * gap) / (1 + 2 * SHOWN)
    gaps = [0.0, *[gap] * SHOWN, *[2 * gap] * SHOWN]
    return [0.12 + column * step + gaps[column] for column in range(1 + 2 * SHOWN)]


def _filled(items: Sequence[Item]) -> list[Item | None]:
    return [*items[:SHOWN], *[None] * (SHOWN - len(items))]


def _show(axes: Axes, item: Item, color: str, framed: bool, largest: float) -> None:
    axes.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1))
    axes.spines[:].set_visible(False)
    if item.picture is None and item.text is not None:
        axes.add_patch(Rectangle((0, 0), 1, 1, color="#F3F3F3"))
        words = textwrap.fill(textwrap.shorten(item.text, 52, placeholder=" …"), 13)
        axes.text(0.5, 0.5, words, ha="center", va="center", size=5.5)
    elif item.picture is None:
        axes.add_patch(Rectangle((0, 0), 1, 1, color="#F3F3F3"))
        words = textwrap.fill(textwrap.shorten(item.label, 44, placeholder=" …"), 11)
        axes.text(0.5, 0.5, words, ha="center", va="center", size=11 if len(item.label) < 6 else 7)
    else:
        gray: dict[str, Any] = {"cmap": "gray_r", "vmin": 0, "vmax": 1} if item.picture.ndim == 2 else {}
        axes.imshow(item.picture, extent=(0, 1, 0, 1), aspect="auto", interpolation="nearest", **gray)
        axes.add_patch(Rectangle((0, 0), 1, 1, fill=False, ec="#CFCFCF", lw=0.7, clip_on=False))
    if framed:
        axes.add_patch(Rectangle((0, 0), 1, 1, fill=False, ec=INK, lw=2.2, clip_on=False))
    lines: list[tuple[str, dict[str, Any]]] = []
    if item.label and (item.picture is not None or item.text is not None):
        label = item.label if len(item.label) <= 11 else f"{item.label[:10]}…"
        lines.append((label, {"size": 9 if len(label) < 6 else 7, "weight": "bold", "color": color}))
    if item.score is not None:
        score = f"{item.score / largest:+.2f}".replace("-", "−")
        lines.append((score, {"size": 8.5, "color": color}))
    lines.append((item.name, {"size": 7, "color": GREY}))
    for number, (text, style) in enumerate(lines):
        axes.text(0, -0.07 - 0.195 * number, text, va="top", **style)

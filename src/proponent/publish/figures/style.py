"""Style of all figures, and their conversion to SVG and PNG."""

from __future__ import annotations

import functools
import io
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, ParamSpec, TypeVar

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

P = ParamSpec("P")
T = TypeVar("T")

# Okabe and Ito's palette, which colour-blind readers can distinguish. Never rely on colour alone: fill or shape repeats
# the distinction.
BLUE = "#0072B2"
SKY = "#56B4E9"
VERMILION = "#D55E00"
GREEN = "#009E73"
INK = "#222222"
GREY = "#6E6E6E"
PALE = "#E4E4E4"

WIDTH = 8.6
"""Inches; a README is about 860 pixels wide, so that text of 10 points is readable in it."""

_FOOTNOTE = 0.145
"""Inches per line of a footnote."""
_FOOTNOTE_COLUMNS = 140

_RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.labelsize": 9.5,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9.5,
    "grid.color": PALE,
    "grid.linewidth": 0.7,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "proponent",
    "path.simplify": False,
}


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function that draws or renders, so that it uses this style whatever the user's matplotlibrc."""

    @functools.wraps(draw)
    def in_style(*args: P.args, **kwargs: P.kwargs) -> T:
        style: dict[Any, Any] = {**matplotlib.rcParamsDefault, **_RC}
        del style["backend"]
        with matplotlib.rc_context(style):
            return draw(*args, **kwargs)

    return in_style


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """Return an empty figure of ``width`` × ``height`` inches with an Agg canvas."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def heading(figure: Figure, title: str, subtitle: str = "") -> None:
    """Write title and subtitle at the top left; with two lines of subtitle they occupy 0.8 inches."""
    height = figure.get_figheight()
    left = 0.12 / figure.get_figwidth()
    figure.text(left, 1 - 0.10 / height, title, size=12, weight="bold", va="top")
    figure.text(left, 1 - 0.36 / height, subtitle, size=9, color=GREY, va="top", linespacing=1.35)


def footnotes(lines: Iterable[str]) -> list[str]:
    """Return lines of small text, wrapped to the width of a figure; :func:`write_footnotes` writes them."""
    return [
        part for line in lines for part in textwrap.wrap(line, _FOOTNOTE_COLUMNS, subsequent_indent="    ")
    ]


def footnote_height(lines: Sequence[str]) -> float:
    """Return the inches that footnotes occupy at the bottom of a figure."""
    return _FOOTNOTE * len(lines) + (0.12 if lines else 0.0)


def write_footnotes(figure: Figure, lines: Sequence[str]) -> None:
    """Write footnotes at the bottom left of a figure."""
    width, height = figure.get_size_inches()
    figure.text(
        0.12 / width, 0.08 / height, "\n".join(lines), size=7.5, color=GREY, va="bottom", linespacing=1.35
    )


@styled
def message(title: str, lines: Iterable[str]) -> Figure:
    """Return a figure that says why there is nothing to draw."""
    wrapped = footnotes(lines)
    figure = new_figure(1.0 + footnote_height(wrapped))
    heading(figure, title, "Nothing to draw.")
    write_footnotes(figure, wrapped)
    return figure


def text_width(figure: Figure, texts: Iterable[str], size: float) -> float:
    """Return the width in inches of the widest of ``texts``."""
    widths = [0.0]
    for text in texts:
        drawn = figure.text(0, 0, text, size=size)
        widths.append(drawn.get_window_extent().width / figure.dpi)
        drawn.remove()
    return max(widths)


def plain(axes: Axes, grid: Literal["x", "y", "both"] = "both") -> None:
    """Give axes a light grid and short ticks."""
    axes.grid(True, axis=grid)
    axes.tick_params(length=2.5)


@styled
def render(figure: Figure, kind: Literal["svg", "png"], title: str) -> bytes:
    """Return a figure as the content of a file that contains no dates or versions.

    Args:
        figure: any figure of this package.
        kind: ``svg`` (letters as outlines, which look the same everywhere) or ``png`` (160 dots per inch).
        title: title in the metadata; screen readers read it aloud for an SVG.
    """
    stream = io.BytesIO()
    if kind == "svg":
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    else:
        figure.savefig(stream, format="png", dpi=160, metadata={"Software": None, "Title": title})
    return stream.getvalue()

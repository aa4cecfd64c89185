"""The figure of docs/peers.md: how many times longer the other libraries take."""

from __future__ import annotations

import cells
from matplotlib.lines import Line2D
from results import Results

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
    render,
    styled,
)

_MARKS = {
    "dattri": (BLUE, "o"),
    "captum": (VERMILION, "s"),
    "kronfluence": (GREEN, "D"),
    "traker": (SKY, "^"),
    "dualxda": (INK, "v"),
    "pydvl": (GREY, "P"),
}


@styled
def draw(results: Results) -> bytes:
    """Return the figure as SVG: one row per method, one mark per library and network, at the large size."""
    n_train, n_query = cells.SIZES["large"]
    figure = new_figure(4.8)
    heading(
        figure,
        "How many times longer other libraries take",
        f"{n_train:,} training examples and {n_query} queries; filled: MLP, open: convolutional network.\n"
        "An arrow marks a lower bound: the call was ended. A vertical bar is the goal.",
    )
    axes = figure.add_axes((0.12, 0.1, 0.68, 0.72))
    for row, (method, libraries) in enumerate(cells.METHODS.items()):
        if method in cells.GOALS:
            axes.plot([cells.GOALS[method]] * 2, [row - 0.35, row + 0.35], color=GREY, linewidth=1.2)
        for library in libraries:
            colour, mark = _MARKS[library]
            for network, shift, fill in (("mlp", -0.15, colour), ("conv", 0.15, "white")):
                ratio = results.ratio((network, "large", method, library))
                if ratio is None:
                    continue
                axes.plot(ratio[0], row + shift, mark, color=colour, markerfacecolor=fill, markersize=5.5)
                if ratio[1]:
                    axes.annotate(
                        "→", (ratio[0], row + shift), (5, -3.5), textcoords="offset points", color=colour
                    )
    axes.axvline(1, color=INK, linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yticks(range(len(cells.METHODS)), list(cells.METHODS))
    axes.invert_yaxis()
    axes.set_xlabel("seconds of the library / seconds of proponent")
    plain(axes, "x")
    handles = [
        Line2D([], [], color=colour, marker=mark, linestyle="", label=library)
        for library, (colour, mark) in _MARKS.items()
    ]
    axes.legend(handles=handles, frameon=False, fontsize=8.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return render(figure, "svg", "Seconds of other libraries relative to this one")

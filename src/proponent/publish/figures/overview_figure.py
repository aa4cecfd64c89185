"""All settings at a glance: the LDS of every method, one panel per setting."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from proponent.publish.figures.lds_figure import ceiling, dot, finish
from proponent.publish.figures.style import GREY, heading, new_figure, styled, text_width

_ROW = 0.235
_TOP, _BOTTOM, _GAP = 1.1, 0.32, 0.58
_RIGHT, _BETWEEN = 0.15, 0.2
_COLUMNS = 5
_DOT = 3.8


@styled
def draw(leaderboard: pd.DataFrame, comparisons: pd.DataFrame) -> Figure:
    """Return panels of LDS, intervals and ceilings that share their rows: methods, the best on average first.

    Args:
        leaderboard: the tidy table; only its ``lds`` rows are used.
        comparisons: the table of paired differences: methods tied with the best of a setting are filled too.
    """
    table = leaderboard[leaderboard["metric"] == "lds"].astype({"setting": str, "method": str})
    settings = sorted(table["setting"].unique())
    # A method that was not run everywhere is placed by its distance from the median where it was.
    centred = table["value"] - table.groupby("setting")["value"].transform("median")
    order = centred.groupby(table["method"]).mean()
    methods = list(order.sort_values(ascending=False, kind="stable").index)
    lines = -(-len(settings) // _COLUMNS) or 1
    columns = -(-len(settings) // lines) or 1
    panel = _ROW * len(methods) + 0.1
    figure = new_figure(_TOP + lines * panel + (lines - 1) * _GAP + _BOTTOM)
    width, height = figure.get_size_inches()
    heading(
        figure,
        "Which training data attribution can one trust?",
        "LDS: how well scores predict what retraining on random subsets of the data does; 1 = perfectly.\n"
        "Whiskers: 95 % intervals. Dashed: ceiling, by the noise of retraining. Filled: the best, and ties.",
    )
    names = 0.25 + text_width(figure, methods, 9.5)
    span = (width - names - _RIGHT - (columns - 1) * _BETWEEN) / columns
    for number, setting in enumerate(settings):
        line, column = divmod(number, columns)
        left = names + column * (span + _BETWEEN)
        bottom = height - _TOP - (line + 1) * panel - line * _GAP
        axes = figure.add_axes((left / width, bottom / height, span / width, panel / height))
        rows = table[table["setting"] == setting].set_index("method")
        best = rows["value"].idxmax()
        first = {best, *_tied(comparisons, setting, str(best))}
        for row, method in enumerate(methods):
            if method in rows.index:
                dot(axes, row, rows.loc[method].to_dict(), first=method in first, size=_DOT)
        ceiling(axes, {"ceiling": rows["ceiling"].iloc[0]}, labelled=False)
        finish(axes, methods)
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.set_title(setting, loc="left", weight="bold")
        if column:
            axes.set_yticklabels([])
    if not settings:
        figure.text(0.5, 0.3, "No setting has an LDS yet.", ha="center", color=GREY)
    return figure


def _tied(comparisons: pd.DataFrame, setting: str, best: str) -> set[str]:
    with_best = comparisons[
        (comparisons["setting"].astype(str) == setting)
        & (comparisons["metric"] == "lds")
        & (comparisons["method_a"].astype(str) == best)
        & comparisons["tied"].astype(bool)
    ]
    return set(with_best["method_b"].astype(str))

"""The chart that compares the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from proponent.publish.report.chart import ACCENT, INK, LIMIT, MUTED, SURFACE, Chart, make_chart, rows_of


def settings_chart(rows: Sequence[Mapping[str, Any]]) -> Chart | None:
    """Return the LDS of all methods on all settings against the ceiling of each setting; None without an LDS.

    Args:
        rows: ``setting``, ``method``, ``value``, ``rank`` and ``ceiling`` of each method and setting.
    """
    if not rows:
        return None
    first: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: -row["value"]):
        first.setdefault(row["setting"], row["method"])
    shown = [{**row, "best": first[row["setting"]] == row["method"]} for row in rows]
    y = alt.Y("setting:N", title=None, sort=list(first), axis=alt.Axis(labelLimit=220))
    tooltip = ["setting:N", "method:N", alt.Tooltip("value:Q", title="LDS", format=".3f")]
    base = alt.Chart(rows_of()).encode(y=y)
    best = base.transform_filter("datum.best")
    drawn = alt.layer(
        base.mark_tick(color=MUTED, opacity=0.6, size=14).encode(
            x=alt.X("value:Q", title="LDS"), tooltip=tooltip
        ),
        best.mark_tick(color=LIMIT, thickness=3, size=22).encode(
            x="ceiling:Q", tooltip=["setting:N", alt.Tooltip("ceiling:Q", format=".3f")]
        ),
        best.mark_point(filled=True, color=ACCENT, size=90, opacity=1).encode(x="value:Q", tooltip=tooltip),
        # A name is written twice, so that ticks behind it do not cross its letters.
        *(
            best.mark_text(align="right", dx=-10, **edge).encode(x="value:Q", text="method:N")
            for edge in ({"stroke": SURFACE, "strokeWidth": 5}, {"color": INK})
        ),
    ).properties(height=32 * len(first))
    description = (
        "LDS of every method on every setting (thin ticks), the best method of each (dot, with its name), and the ceiling "
        "of the setting (thick tick): the LDS that a predictor of every expected outcome would reach."
    )
    return make_chart("LDS against the ceiling", description, drawn, shown, list(shown[0]))

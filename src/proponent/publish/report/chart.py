"""Charts of the report as specifications of Vega-Lite, which the page draws, and as SVG and CSV for other programs.

Colours are names of CSS variables of the page, so that a chart follows its light, dark and printed form. An SVG of its own
has the colours of :data:`LIGHT`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from proponent.publish.leaderboard import to_csv

ACCENT, MUTED, LIMIT, INK, GRID, SURFACE = (
    f"var(--{name})" for name in ("accent", "muted", "limit", "ink", "grid", "surface")
)
LIGHT = {
    "accent": "#0072b2",
    "muted": "#5f6672",
    "limit": "#b34700",
    "ink": "#1a1d23",
    "grid": "#e3e6ea",
    "surface": "#ffffff",
}
"""Colours of a chart outside the page; those of light mode. Blue and vermilion are told apart by colour-blind readers."""

ROW = 24
"""Height of one row of a categorical axis, in pixels."""
_SVG_WIDTH = 640
_DATA = "rows"


@dataclass(frozen=True)
class Chart:
    """One chart."""

    title: str
    description: str
    """What it shows, in a sentence or two; the alternative text."""
    spec: Mapping[str, Any]
    """Specification of Vega-Lite, as wide as its container, with the data of ``rows``."""
    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]

    def csv(self) -> str:
        """Return the data of the chart as CSV."""
        return to_csv(self.rows, self.columns)

    def svg(self) -> str:
        """Return the chart as an SVG of 640 pixels' width, for light backgrounds."""
        import vl_convert

        fixed = json.dumps({**self.spec, "width": _SVG_WIDTH, "background": LIGHT["surface"]})
        for name, colour in LIGHT.items():
            fixed = fixed.replace(f"var(--{name})", colour)
        return str(vl_convert.vegalite_to_svg(fixed))


def rows_of() -> alt.NamedData:
    """Return the reference of a part of a chart to the rows of the chart."""
    return alt.NamedData(name=_DATA)


def make_chart(
    title: str, description: str, drawn: Any, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]
) -> Chart:
    """Return a chart from what Altair draws of :func:`rows_of`.

    Args:
        title: title above the chart.
        description: sentences on what is drawn, for the caption.
        drawn: chart or layers of Altair.
        rows: data; floating point values are rounded to six significant digits.
        columns: names of the columns, in the order of the CSV.
    """
    plain = [{name: _plain(row.get(name)) for name in columns} for row in rows]
    spec = drawn.properties(width="container").configure(**_style()).to_dict()
    spec |= {"datasets": {_DATA: plain}, "description": description}
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    return Chart(title, description, spec, list(columns), plain)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def _style() -> dict[str, Any]:
    font = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
    return {
        "background": "transparent",
        "font": font,
        "view": alt.ViewConfig(stroke=None),
        "axis": alt.AxisConfig(
            labelColor=INK,
            titleColor=INK,
            gridColor=GRID,
            domainColor=MUTED,
            tickColor=MUTED,
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
            labelLimit=170,
        ),
        "legend": alt.LegendConfig(labelColor=INK, titleColor=INK, labelFontSize=12),
        "text": alt.MarkConfig(color=INK, fontSize=12),
    }

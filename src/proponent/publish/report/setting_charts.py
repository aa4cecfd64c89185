"""Charts of one setting."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from proponent.publish.figures.frontier_figure import undominated
from proponent.publish.ranking import METRICS, Ranking
from proponent.publish.report.chart import ACCENT, LIMIT, MUTED, ROW, SURFACE, Chart, make_chart, rows_of

_SHORTEST = 0.01
"""Seconds at which faster methods are drawn, because a logarithmic axis has no zero."""
_TICKS: dict[float, str] = {
    0.01: "10 ms",
    0.1: "0.1 s",
    1: "1 s",
    10: "10 s",
    60: "1 min",
    600: "10 min",
    3600: "1 h",
    36_000: "10 h",
    360_000: "100 h",
    3_600_000: "1,000 h",
}
_CEILINGS = ("ceiling", "ceiling_low", "ceiling_high", "ceiling_additive")
_FULL = alt.condition("datum.rank == 1", alt.value(ACCENT), alt.value(SURFACE))
"""Filled marks for the first rank, hollow ones for the others: colour alone distinguishes nothing."""
_EDGE = alt.condition("datum.rank == 1", alt.value(ACCENT), alt.value(MUTED))


def quality_chart(ranking: Ranking) -> Chart | None:
    """Return the value of each method on the leading metric with its interval, and the ceilings; None without a value."""
    rows = _quality_rows(ranking)
    if not rows:
        return None
    name = METRICS[ranking.shown[0]]
    base = alt.Chart(rows_of()).encode(y=alt.Y("method:N", sort=[row["method"] for row in rows], title=None))
    layers = [
        *_ceilings("x", rows[0]),
        base.mark_rule(strokeWidth=2).encode(
            x=alt.X("ci_low:Q", title=name), x2="ci_high:Q", color=_EDGE, tooltip=_tooltip(name)
        ),
        base.mark_point(size=80, strokeWidth=2, opacity=1).encode(
            x="value:Q", fill=_FULL, stroke=_EDGE, tooltip=_tooltip(name)
        ),
        base.mark_text(align="left", dx=8).encode(x="ci_high:Q", text=alt.Text("value:Q", format=".3f")),
    ]
    drawn = alt.layer(*layers).properties(height=ROW * len(rows))
    description = (
        f"{name} of each method with its 95 % interval, best first. Filled: rank 1, which the best method shares with those "
        f"that the data cannot distinguish from it.{_ceiling_text(rows[0])}"
    )
    return make_chart(f"{name} of each method", description, drawn, rows, list(rows[0]))


def cost_chart(ranking: Ranking) -> Chart | None:
    """Return quality against total time, with the undominated methods joined; None without both."""
    costs = _costs(ranking)
    rows = [
        {**row, "total_seconds": max(seconds, _SHORTEST)}
        for row in _quality_rows(ranking)
        if (seconds := costs[row["method"]]) is not None
    ]
    if not rows:
        return None
    best = undominated({row["method"]: (row["total_seconds"], row["value"]) for row in rows})
    rows = [{**row, "undominated": row["method"] in best} for row in rows]
    name = METRICS[ranking.shown[0]]
    x = alt.X(
        "total_seconds:Q",
        scale=alt.Scale(type="log", domain=_decades(rows), nice=False),
        title="total time from raw data to scores",
        axis=alt.Axis(values=list(_TICKS), labelExpr=f"({json.dumps(_TICKS)})[datum.value]"),
    )
    front = alt.Chart(rows_of()).transform_filter("datum.undominated")
    full = alt.condition("datum.undominated", alt.value(ACCENT), alt.value(SURFACE))
    edge = alt.condition("datum.undominated", alt.value(ACCENT), alt.value(MUTED))
    tooltip = [*_tooltip(name), alt.Tooltip("total_seconds:Q", title="total seconds", format=".3~g")]
    base = alt.Chart(rows_of()).encode(x=x)
    layers = [
        *_ceilings("y", rows[0]),
        front.mark_line(interpolate="step-after", color=ACCENT, opacity=0.6).encode(x=x, y="value:Q"),
        base.mark_rule().encode(
            y=alt.Y("ci_low:Q", title=name), y2="ci_high:Q", color=edge, opacity=alt.value(0.5)
        ),
        base.mark_point(size=80, strokeWidth=2, opacity=1).encode(
            y="value:Q", fill=full, stroke=edge, tooltip=tooltip
        ),
        *_names(rows, x),
    ]
    description = (
        f"{name} against the time from raw data to scores, on a logarithmic axis. Filled, named and joined: no other method "
        f"is both as good and as fast.{_ceiling_text(rows[0])}"
    )
    drawn = alt.layer(*layers).properties(height=340)
    return make_chart("Quality against cost", description, drawn, rows, list(rows[0]))


def loss_chart(trainings: Sequence[Mapping[str, Any]]) -> Chart | None:
    """Return the training loss of the members: their mean and range, and the steps of checkpoints; None without losses.

    Args:
        trainings: contents of ``training.json`` of the members; see :mod:`proponent.publish.figures.loss_figure`.
    """
    known = [training for training in trainings if training.get("loss")]
    if not known:
        return None
    steps = np.asarray(known[0]["loss_steps"], dtype=np.float64)
    curves = np.array([np.interp(steps, training["loss_steps"], training["loss"]) for training in known])
    rows: list[dict[str, Any]] = [
        {"step": float(step), "loss": float(c.mean()), "lowest": float(c.min()), "highest": float(c.max())}
        for step, c in zip(steps, curves.T, strict=True)
    ]
    saved = sorted({step for training in known for step in training["steps"]})
    rows += [{"step": float(step), "checkpoint": True} for step in saved if step >= steps[0]]
    positive = float(curves.min()) > 0
    wide = positive and curves.mean(axis=0).max() > 5 * curves.mean(axis=0).min()
    scale = alt.Scale(type="log", nice=False) if wide else alt.Scale(zero=False)
    x = alt.X(
        "step:Q", scale=alt.Scale(type="log", nice=False), title="optimiser steps", axis=alt.Axis(tickCount=5)
    )
    curve = alt.Chart(rows_of()).transform_filter("isValid(datum.loss)").encode(x=x)
    drawn = alt.layer(
        curve.mark_area(color=ACCENT, opacity=0.25).encode(y=alt.Y("lowest:Q", scale=scale), y2="highest:Q"),
        curve.mark_line(color=ACCENT).encode(
            y=alt.Y("loss:Q", scale=scale, title="training loss", axis=alt.Axis(tickCount=6)),
            tooltip=["step:Q", alt.Tooltip("loss:Q", format=".4~g")],
        ),
        alt.Chart(rows_of())
        .transform_filter("datum.checkpoint")
        .mark_tick(color=LIMIT, thickness=2, size=14, orient="vertical")
        .encode(x=x, y=alt.value(270), tooltip=[alt.Tooltip("step:Q", title="checkpoint at step")]),
    ).properties(height=280)
    description = (
        f"Mean training loss of {len(known)} member{'s' * (len(known) > 1)} of the ensemble, and their range. "
        "Ticks at the bottom mark the optimiser steps of the checkpoints."
    )
    return make_chart(
        "Learning curves", description, drawn, rows, ("step", "loss", "lowest", "highest", "checkpoint")
    )


def tuning_chart(records: Mapping[str, Mapping[str, Any]]) -> Chart | None:
    """Return the LDS of every candidate of every tuned method; None without one.

    Args:
        records: contents of ``results/S/tuning/M.json`` by method.
    """
    rows = [
        {
            "method": method,
            "lds": candidate["lds"],
            "hyper_parameters": json.dumps(candidate["params"]).strip("{}").replace('"', ""),
            "chosen": candidate["params"] == record["chosen"],
            "reason": candidate.get("why", ""),
        }
        for method, record in records.items()
        for candidate in record["candidates"]
    ]
    if not any(row["lds"] is not None for row in rows):
        return None
    base = alt.Chart(rows_of()).transform_filter("isValid(datum.lds)")
    full = alt.condition("datum.chosen", alt.value(ACCENT), alt.value(SURFACE))
    edge = alt.condition("datum.chosen", alt.value(ACCENT), alt.value(MUTED))
    drawn = (
        base.mark_point(size=70, strokeWidth=2, opacity=1)
        .encode(
            y=alt.Y("method:N", title=None),
            x=alt.X("lds:Q", scale=alt.Scale(zero=False), title="LDS on tune queries and tune masks"),
            fill=full,
            stroke=edge,
            tooltip=["method:N", "hyper_parameters:N", alt.Tooltip("lds:Q", format=".3f"), "chosen:N"],
        )
        .properties(height=ROW * len({row["method"] for row in rows}))
    )
    description = (
        "LDS of every candidate of the tuned methods, on queries and masks that the results do not use. "
        "Filled: the chosen candidate."
    )
    return make_chart("Tuning", description, drawn, rows, list(rows[0]))


def _quality_rows(ranking: Ranking) -> list[dict[str, Any]]:
    """Return the methods with a value of the leading metric, best first."""
    if not ranking.shown:
        return []
    metric = ranking.shown[0]
    entries = ranking.entries(metric)
    return [
        {
            "method": method,
            **{name: entries[method][name] for name in ("value", "ci_low", "ci_high")},
            "rank": ranking.ranks[metric][method],
            **{name: entries[method].get(name) for name in _CEILINGS},
        }
        for method in sorted(entries, key=lambda method: (-entries[method]["value"], method))
    ]


def _decades(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the powers of ten of seconds around all methods."""
    places = [math.log10(row["total_seconds"]) for row in rows]
    return [10.0 ** math.floor(min(places)), 10.0 ** (math.floor(max(places)) + 1)]


def _names(rows: Sequence[Mapping[str, Any]], x: Any) -> list[Any]:
    """Return the layers with the names of the undominated methods, so that few overlap and all stay inside the panel.

    Names are on the right of a point in the left half of the panel and on the left of the others; those of neighbours
    alternate between above and below.
    """
    low, high = _decades(rows)
    ordered = sorted((row["total_seconds"], row["method"]) for row in rows if row["undominated"])
    groups: dict[tuple[bool, bool], list[str]] = {}
    for number, (seconds, method) in enumerate(ordered):
        groups.setdefault((seconds < math.sqrt(low * high), number % 2 == 0), []).append(method)
    return [
        alt.Chart(rows_of())
        .transform_filter(alt.FieldOneOfPredicate(field="method", oneOf=methods))
        .mark_text(
            align="left" if left else "right",
            dx=9 if left else -9,
            dy=-9 if above else 10,
            fontWeight="bold",
        )
        .encode(x=x, y="value:Q", text="method:N")
        for (left, above), methods in groups.items()
    ]


def _costs(ranking: Ranking) -> dict[str, float | None]:
    return {document["method"]: document["cost"].get("total_seconds") for document in ranking.documents}


def _tooltip(name: str) -> list[Any]:
    return [
        "method:N",
        alt.Tooltip("value:Q", title=name, format=".3f"),
        alt.Tooltip("ci_low:Q", title="95 % from", format=".3f"),
        alt.Tooltip("ci_high:Q", title="95 % to", format=".3f"),
        "rank:Q",
    ]


def _ceilings(axis: str, row: Mapping[str, Any]) -> list[Any]:
    """Return the layers of the ceilings that the rows share: a dashed line with its interval, and a dotted line."""
    layers: list[Any] = []
    # All rows have the same values.
    means = [alt.AggregatedFieldDef(op="mean", field=name, **{"as": name}) for name in _CEILINGS]
    one = alt.Chart(rows_of()).transform_aggregate(means)
    if row["ceiling_low"] is not None:
        ends = {axis: "ceiling_low:Q", f"{axis}2": "ceiling_high:Q"}
        layers.append(one.mark_rect(color=LIMIT, opacity=0.15).encode(**ends))
    for name, dashes in (("ceiling", [6, 3]), ("ceiling_additive", [2, 3])):
        if row[name] is not None:
            layers.append(one.mark_rule(color=LIMIT, strokeDash=dashes).encode(**{axis: f"{name}:Q"}))
    return layers


def _ceiling_text(row: Mapping[str, Any]) -> str:
    text = ""
    if row["ceiling"] is not None:
        text += f" Dashed: the ceiling, {row['ceiling']:.3f}."
    if row["ceiling_additive"] is not None:
        text += f" Dotted: the ceiling of any sum of scores, {row['ceiling_additive']:.3f}."
    return text

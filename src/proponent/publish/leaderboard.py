"""The leaderboard: one tidy table for programs, one table for people, and who can be told apart from whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

COLUMNS = (
    "setting",
    "method",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "ceiling",
    "attribution_seconds",
    "total_seconds",
    "peak_memory_mib",
    "bytes",
)
COMPARISON_COLUMNS = (
    "setting",
    "metric",
    "method_a",
    "method_b",
    "difference",
    "ci_low",
    "ci_high",
    "p_holm",
    "tied",
)
METRICS = {
    "lds": "LDS",
    "mislabel_auc": "Mislabel AUC",
    "loo": "LOO",
}
"""What the tables for people show; methods are ranked by the first of them that the setting has."""

Documents = Sequence[Mapping[str, Any]]
"""Contents of ``results/S/metrics/M.json``."""
Ranks = Mapping[str, Mapping[str, Mapping[str, int]]]
"""By setting, metric and method; methods that cannot be told from a better one share its rank."""


def leaderboard(documents: Documents) -> pd.DataFrame:
    """Return the tidy table of the contract: one row per setting, method and metric, in alphabetical order.

    A figure that a method or metric does not have (a ceiling, a cost that was not measured) is NaN.
    """
    rows = [
        {
            "setting": document["setting"],
            "method": document["method"],
            "metric": metric,
            **{name: entry.get(name) for name in ("value", "ci_low", "ci_high", "ceiling")},
            **{
                name: document["cost"].get(name)
                for name in ("attribution_seconds", "total_seconds", "peak_memory_mib", "bytes")
            },
        }
        for document in documents
        for metric, entry in document["metrics"].items()
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table = table.astype(dict.fromkeys(COLUMNS[3:], "float64"))
    return table.sort_values(["setting", "method", "metric"], ignore_index=True)


def by_method(documents: Documents) -> pd.DataFrame:
    """Return the values of one setting: a row per method, the first metric's best first, and a column per metric."""
    table = leaderboard(documents).pivot(index="method", columns="metric", values="value")
    shown = [metric for metric in METRICS if metric in table]
    others = [metric for metric in table if metric not in METRICS]
    table = table[[*shown, *others]]
    return table.sort_values(list(table.columns[:1]), ascending=False, kind="stable")


def comparisons(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the table of paired differences: value of a minus b, interval, Holm's p, tied or not."""
    return pd.DataFrame(list(rows), columns=list(COMPARISON_COLUMNS))


def to_csv(table: pd.DataFrame) -> str:
    """Return a table as CSV with six significant digits, the same bytes on every machine."""
    return table.to_csv(index=False, float_format="%.6g", lineterminator="\n")


@dataclass(frozen=True)
class _SettingTable:
    """One setting's leaderboard, formatted."""

    title: str
    notes: str
    headers: list[str]
    rows: list[list[str]]
    first: list[bool]
    """Which rows share rank 1."""


def markdown(documents: Documents, ranks: Ranks) -> str:
    """Return the leaderboard for people: a table per setting, best first, with intervals, ties and costs."""
    parts = [
        "# Leaderboard",
        "Brackets hold 95 % intervals (bootstrap over subsets and queries, the same for all methods). "
        "A rank with `=` is shared: the data cannot tell the method from the first of that rank. "
        "The ceiling is what a noise-free predictor would reach, given the seed noise of the retrainings, "
        "and that of a sum of scores a bound on what additive scores can. "
        "Total time counts everything that a method needs, from raw data on.",
    ]
    for table in _tables(documents, ranks):
        align = ["---:", ":---", *["---:"] * (len(table.headers) - 2)]
        lines = [table.headers, align, *table.rows]
        parts += [f"## {table.title}", table.notes, "\n".join(f"| {' | '.join(line)} |" for line in lines)]
    return "\n\n".join(part for part in parts if part) + "\n"


def terminal(documents: Documents, ranks: Ranks) -> list[Table]:
    """Return the leaderboard as rich tables that fit in 80 columns, one per setting, rank 1 in bold."""
    tables = []
    for content in _tables(documents, ranks, compact=True):
        table = Table(
            title=content.title, caption=content.notes or None, title_style="bold", caption_style="dim"
        )
        table.box, table.padding = box.SIMPLE, (0, 0)
        for number, header in enumerate(content.headers):
            table.add_column(header, justify="left" if number == 1 else "right", no_wrap=True)
        for row, first in zip(content.rows, content.first, strict=True):
            table.add_row(*map(Text, row), style="bold" if first else None)
        tables.append(table)
    return tables


def _tables(documents: Documents, ranks: Ranks, compact: bool = False) -> list[_SettingTable]:
    by_setting: dict[str, list[Mapping[str, Any]]] = {}
    for document in sorted(documents, key=lambda d: d["setting"]):
        by_setting.setdefault(document["setting"], []).append(document)
    return [
        _table(setting, own, ranks[setting], compact)
        for setting, own in by_setting.items()
        if any(metric in ranks.get(setting, {}) for metric in METRICS)
    ]


def _table(
    setting: str, documents: Documents, ranks: Mapping[str, Mapping[str, int]], compact: bool
) -> _SettingTable:
    """Format one setting; the compact form has one interval and no attribution time."""
    shown = [metric for metric in METRICS if metric in ranks]
    leading = shown[0]
    ordered = sorted(documents, key=lambda d: (-_value(d, leading), d["method"]))
    places = ranks[leading]
    columns: dict[str, list[str]] = {
        "Rank": [_rank(places, d["method"]) for d in ordered],
        "Method": [d["method"] for d in ordered],
    }
    for metric in shown:
        with_interval = metric == leading or not compact
        header = METRICS[metric].removeprefix("Mislabel ") if compact else METRICS[metric]
        columns[header] = [_figure(d["metrics"].get(metric), "value", with_interval) for d in ordered]
        if metric == "lds":
            header = "/ ceiling" if compact else "LDS / ceiling"
            entries = [d["metrics"].get("lds") for d in ordered]
            columns[header] = [_figure(entry, "lds_over_ceiling", with_interval=False) for entry in entries]
    if not compact:
        columns["Attribution"] = [duration(d["cost"].get("attribution_seconds")) for d in ordered]
    columns["Total time"] = [duration(d["cost"].get("total_seconds")) for d in ordered]
    return _SettingTable(
        title=setting,
        notes=_notes(ordered),
        headers=list(columns),
        rows=[list(row) for row in zip(*columns.values(), strict=True)],
        first=[places.get(d["method"]) == 1 for d in ordered],
    )


def _notes(documents: Documents) -> str:
    lds = next((d["metrics"]["lds"] for d in documents if "lds" in d["metrics"]), None)
    if lds is None:
        return ""
    notes = []
    if lds.get("ceiling") is not None:
        interval = f"[{_number(lds['ceiling_low'])}, {_number(lds['ceiling_high'])}]"
        notes.append(f"ceiling {_number(lds['ceiling'])} {interval}")
    if "ceiling_additive" in lds:
        interval = f"[{_number(lds['ceiling_additive_low'])}, {_number(lds['ceiling_additive_high'])}]"
        notes.append(f"of a sum of scores {_number(lds['ceiling_additive'])} {interval}")
    if "n_subsets" in lds:
        notes.append(f"{lds['n_subsets']} subsets × {lds['n_seeds']} seeds, {lds['n_queries']} test queries")
    if lds.get("n_diverged"):
        notes.append(f"{lds['n_diverged']} diverged retrainings left out")
    return "; ".join(notes)


def _value(document: Mapping[str, Any], metric: str) -> float:
    return float(document["metrics"][metric]["value"]) if metric in document["metrics"] else float("-inf")


def _rank(places: Mapping[str, int], method: str) -> str:
    place = places.get(method)
    if place is None:
        return "–"
    return f"{place}=" if list(places.values()).count(place) > 1 else str(place)


def _number(value: float | None) -> str:
    """Return three decimals with a true minus sign, or a dash for what there is not."""
    return "–" if value is None else f"{value:.3f}".replace("-", "−")


def _figure(entry: Mapping[str, Any] | None, name: str, with_interval: bool) -> str:
    if entry is None:
        return "–"
    value = _number(entry.get(name))
    return f"{value} [{_number(entry['ci_low'])}, {_number(entry['ci_high'])}]" if with_interval else value


def duration(seconds: float | None) -> str:
    """Return a time as people say it: 0.31 s, 12 s, 3 min 20 s, 25 min, 5.2 h."""
    if seconds is None or pd.isna(seconds):
        return "–"
    if seconds < 9.95:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

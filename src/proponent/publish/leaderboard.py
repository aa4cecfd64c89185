"""Tables for programs: the tidy leaderboard, the paired comparisons, and the values of one setting by method."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from proponent.publish.ranking import METRICS, Document, note, reason

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
    "note",
)
_OF_METRIC, _OF_COST = COLUMNS[3:7], COLUMNS[7:11]
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

Row = Mapping[str, Any]


def leaderboard(documents: Iterable[Document]) -> list[Row]:
    """Return the rows of the tidy leaderboard: one per setting, method and metric, in alphabetical order.

    A quantity that a method or metric does not have (a ceiling, a cost that was not measured) is None. A method without
    scores has a row without a value for each metric that tables show for its setting, so that it is among the rows of any
    of these metrics; so has a metric that needs retrainings, in a setting without them. ``note`` has the reason, or the
    notes about a value.
    """
    documents = list(documents)
    shown: dict[str, list[str]] = {}
    for document in documents:
        own = shown.setdefault(document["setting"], [])
        named = [*METRICS, *document.get("missing", ())]
        found = {**document["metrics"], **document.get("missing", {})}
        own += [name for name in dict.fromkeys(named) if name in found and name not in own]
    rows = [
        {
            "setting": document["setting"],
            "method": document["method"],
            "metric": metric,
            **{name: entry.get(name) for name in _OF_METRIC},
            **{name: document["cost"].get(name) for name in _OF_COST},
            "note": entry.get("note") or note(document),
        }
        for document in documents
        for metric, entry in _entries(document, shown[document["setting"]]).items()
    ]
    return sorted(rows, key=lambda row: (row["setting"], row["method"], row["metric"]))


def _entries(document: Document, shown: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return the entries of a method by metric, those without a value included.

    Args:
        document: document of the method.
        shown: metrics of its setting.
    """
    if reason(document):
        return {metric: {} for metric in shown or ("",)}
    missing = {metric: {"note": why} for metric, why in document.get("missing", {}).items()}
    return {**document["metrics"], **missing} or {"": {}}


def by_method(documents: Iterable[Document]) -> tuple[list[str], list[Row]]:
    """Return the values of one setting: the names of its metrics, and one row per method, the best one first.

    The metrics that tables show come first; methods are sorted by the first metric. Methods without a metric have no row.
    """
    rows = [
        {"method": document["method"]} | {name: entry["value"] for name, entry in document["metrics"].items()}
        for document in documents
        if document["metrics"]
    ]
    names = {name for row in rows for name in row if name != "method"}
    metrics = [name for name in METRICS if name in names] + sorted(names.difference(METRICS))
    first = metrics[0] if metrics else ""
    return metrics, sorted(rows, key=lambda row: (-row.get(first, float("-inf")), row["method"]))


def to_csv(rows: Iterable[Row], columns: Sequence[str]) -> str:
    """Return rows as CSV: numbers with six significant digits, missing values empty, the same bytes on every machine."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    return stream.getvalue()


def join_csv(tables: Sequence[str]) -> str:
    """Return tables with the same columns, each as CSV, as one table."""
    lines = [table.splitlines(keepends=True) for table in tables]
    return "".join(lines[0][:1] + [line for table in lines for line in table[1:]])


def _cell(value: Any) -> str:
    if value is None or value != value:
        return ""
    return f"{value:.6g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)

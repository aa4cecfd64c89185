"""Tables for people: the leaderboard of each setting as Markdown, and as a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from proponent.formatting import duration
from proponent.publish.ranking import METRICS, Document, Ranking, shown_rank

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_ABSENT = "–"


def markdown(rankings: Iterable[Ranking]) -> str:
    """Return the leaderboard as Markdown: one table per setting, best method first, with intervals, ties and costs."""
    parts = [
        "# Leaderboard",
        "Brackets hold 95 % intervals (bootstrap over subsets and queries, with the same resamples for all methods). "
        "A rank with `=` is shared: the data cannot distinguish the method from the first of that rank. "
        "The ceiling is the LDS that a noise-free predictor would reach, given the seed noise of the retrainings; "
        "the ceiling of a sum of scores is an upper bound for additive scores. "
        "Total time counts everything that a method needs, starting from raw data. "
        "Below a table are notes on values, and the reason for each metric and each method without values.",
    ]
    for ranking in rankings:
        remarks = "\n".join(
            [
                *(
                    f"- no {', '.join(f'`{metric}`' for metric in metrics)}: {why}"
                    for why, metrics in ranking.missing_by_reason.items()
                ),
                *(
                    f"- {', '.join(f'`{method}`' for method in methods)}: {note}"
                    for note, methods in ranking.methods_by_note.items()
                ),
            ]
        )
        if ranking.shown:
            content = _content(ranking, compact=False)
            align = ["right", "left", *["right"] * (len(content.headers) - 2)]
            table = tabulate(
                content.rows, content.headers, tablefmt="pipe", colalign=align, disable_numparse=True
            )
            parts += [f"## {ranking.setting}", content.notes, table, remarks]
        elif remarks:
            parts += [f"## {ranking.setting}", remarks]
    return "\n\n".join(part for part in parts if part) + "\n"


def terminal(ranking: Ranking) -> RenderableType | None:
    """Return the leaderboard of one setting for a terminal: a table that fits in 80 columns, and the notes below it.

    Returns:
        None if there are no notes, and no method has one of the metrics that tables show.
    """
    from rich.console import Group
    from rich.text import Text

    table = _table(ranking) if ranking.shown else None
    lines = [
        f"{ranking.setting}: no {', '.join(metrics)}: {why}"
        for why, metrics in ranking.missing_by_reason.items()
    ]
    lines += [
        f"{ranking.setting}/{', '.join(methods)}: {note}" for note, methods in ranking.methods_by_note.items()
    ]
    remarks = [Text(line, style="dim") for line in lines]
    return Group(*([table] if table else []), *remarks, Text()) if remarks else table


def _table(ranking: Ranking) -> Table:
    """Return the leaderboard of one setting as a rich table that fits in 80 columns, rank 1 in bold."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    content = _content(ranking, compact=True)
    table = Table(
        title=ranking.setting, caption=content.notes or None, title_style="bold", caption_style="dim"
    )
    table.box, table.padding = box.SIMPLE, (0, 0)
    for number, header in enumerate(content.headers):
        table.add_column(header, justify="left" if number == 1 else "right", no_wrap=True)
    for row, first in zip(content.rows, content.first, strict=True):
        table.add_row(*map(Text, row), style="bold" if first else None)
    return table


@dataclass(frozen=True)
class _Content:
    """Formatted leaderboard of one setting."""

    notes: str
    headers: list[str]
    rows: list[list[str]]
    first: list[bool]
    """Whether the method of each row has rank 1."""


def _content(ranking: Ranking, compact: bool) -> _Content:
    """Format one setting; the compact form shows one interval and no attribution time."""
    leading = ranking.shown[0]
    ordered = ranking.ordered()
    ranks = ranking.ranks[leading]
    columns: dict[str, list[str]] = {
        "Rank": [shown_rank(ranks, document["method"]) for document in ordered],
        "Method": [document["method"] for document in ordered],
    }
    for metric in ranking.shown:
        entries = [document["metrics"].get(metric) for document in ordered]
        header = METRICS[metric].removeprefix("Mislabel ") if compact else METRICS[metric]
        with_interval = metric == leading or not compact
        columns[header] = [_value(entry) + _interval(entry) * with_interval for entry in entries]
        if metric == "lds":
            header = "/ ceiling" if compact else "LDS / ceiling"
            columns[header] = [_value(entry, "lds_over_ceiling") for entry in entries]
    if not compact:
        columns["Attribution"] = [_duration(document, "attribution_seconds") for document in ordered]
    columns["Total time"] = [_duration(document, "total_seconds") for document in ordered]
    return _Content(
        notes=_notes(ranking),
        headers=list(columns),
        rows=[list(row) for row in zip(*columns.values(), strict=True)],
        first=[ranks.get(document["method"]) == 1 for document in ordered],
    )


def _notes(ranking: Ranking) -> str:
    """Return the properties of the ground truth that all methods of a setting share."""
    lds = next(iter(ranking.entries("lds").values()), None)
    if lds is None:
        return ""
    notes = []
    if lds.get("ceiling") is not None:
        notes.append(f"ceiling {_value(lds, 'ceiling')}{_interval(lds, 'ceiling')}")
    if lds.get("ceiling_additive") is not None:
        notes.append(
            f"of a sum of scores {_value(lds, 'ceiling_additive')}{_interval(lds, 'ceiling_additive')}"
        )
    if "n_subsets" in lds:
        notes.append(f"{lds['n_subsets']} subsets × {lds['n_seeds']} seeds, {lds['n_queries']} test queries")
    if lds.get("n_diverged"):
        notes.append(f"{lds['n_diverged']} diverged retrainings left out")
    return "; ".join(notes)


def _number(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


def _value(entry: Mapping[str, Any] | None, name: str = "value") -> str:
    """Return a value with three decimals and a true minus sign, or a dash if it is absent."""
    value = None if entry is None else entry.get(name)
    return _ABSENT if value is None else _number(value)


def _interval(entry: Mapping[str, Any] | None, name: str = "ci") -> str:
    return "" if entry is None else f" [{_number(entry[f'{name}_low'])}, {_number(entry[f'{name}_high'])}]"


def _duration(document: Document, name: str) -> str:
    seconds = document["cost"].get(name)
    return _ABSENT if seconds is None else duration(seconds)

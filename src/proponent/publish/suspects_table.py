"""Suspicious examples as CSV for programs, and as one HTML page for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

COLUMNS = (
    *("rank", "example", "suspicion", "label", "predicted", "p_label", "p_predicted"),
    *("other_labels", "harmed", "proponents", "opponents", "cleanlab_rank"),
)


@dataclass(frozen=True)
class Shown:
    """An example or a query as the page shows it.

    Attributes:
        name: name in the data, such as ``train 12``.
        label: name of its class.
        picture: image as the address of a PNG, or empty.
        text: content in place of an image, or empty.
    """

    name: str
    label: str
    picture: str = ""
    text: str = ""


@dataclass(frozen=True)
class Row:
    """A suspicious example of the page, with its evidence."""

    rank: int
    values: Mapping[str, Any]
    example: Shown
    predicted: str
    other_labels: Sequence[Shown]
    harmed: Sequence[Shown]
    proponents: Sequence[Shown]
    opponents: Sequence[Shown]


def to_csv(rows: Iterable[Mapping[str, Any]], class_name: Callable[[int], str]) -> str:
    """Return one line per example: :data:`COLUMNS`, with classes by name and lists of rows separated by spaces.

    Args:
        rows: values by name, the most suspicious example first.
        class_name: function from a class to its name.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for rank, row in enumerate(rows, start=1):
        named = {
            "rank": rank,
            **row,
            "label": class_name(row["label"]),
            "predicted": class_name(row["predicted"]),
        }
        writer.writerow([_cell(named[column]) for column in COLUMNS])
    return stream.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return " ".join(map(str, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def to_html(title: str, facts: Sequence[str], rows: Sequence[Row]) -> str:
    """Return a page that needs no other file: one section per example.

    Args:
        title: heading of the page.
        facts: sentences below the heading.
        rows: examples, the most suspicious first.
    """
    from jinja2 import Environment, StrictUndefined

    text = (
        resources.files("proponent.publish")
        .joinpath("templates/suspects.html.j2")
        .read_text(encoding="utf-8")
    )
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return page.from_string(text).render(title=title, facts=facts, rows=rows) + "\n"

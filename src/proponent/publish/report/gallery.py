"""The gallery of a setting: a dozen queries with their proponents and opponents by the best methods; suspicious labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proponent.publish.figures.proponents_figure import strongest
from proponent.publish.report.section import Gallery, Influence, Item, Strongest, Suspicious
from proponent.publish.report.shown_examples import Examples

QUERIES, METHODS, SHOWN, SUSPICIOUS = 12, 6, 6, 24
"""Queries; methods; proponents, and opponents, of each query; suspicious examples."""

Scores = NDArray[np.floating[Any]]


def choose_queries(labels: NDArray[Any], first: int, count: int = QUERIES) -> list[int]:
    """Return rows of test queries: the first of each label, then the second of each, and so on.

    Args:
        labels: (n_query, ...) labels of all queries; labels of several numbers, and values, are not grouped.
        first: row of the first test query.
        count: largest number of rows.
    """
    rows = range(first, len(labels))
    if labels.ndim > 1 or not np.issubdtype(labels.dtype, np.integer):
        return list(rows[:count])
    seen: dict[Any, int] = {}
    turns = []
    for row in rows:
        label = labels[row].item()
        seen[label] = seen.get(label, 0) + 1
        turns.append((seen[label], row))
    return sorted(row for _, row in sorted(turns)[:count])


def make_gallery(
    train: Examples, queries: Examples, rows: Sequence[int], scores: Iterable[tuple[str, Scores]], limit: int
) -> Gallery | None:
    """Return the strongest examples of some queries by several methods, the best method first.

    Args:
        train: training examples.
        queries: all queries.
        rows: rows of the queries to show.
        scores: scores (n_query, n_train) by method, the best method first; read one after the other.
        limit: characters of pictures, texts and sounds after which no further method is shown.

    Returns:
        None if there is no method or no query.
    """
    examples: dict[str, Any] = {}
    shown: dict[str, list[Strongest]] = {}
    used = 0
    for method, values in scores:
        cases = [_strongest(values[row], train, queries.label(row)) for row in rows]
        needed = {entry.row for case in cases for entry in (*case.proponents, *case.opponents)}
        new = {str(row): train.item(row) for row in sorted(needed) if str(row) not in examples}
        used += sum(size_of(item) for item in new.values())
        if shown and used > limit:
            break
        examples |= new
        shown[method] = cases
    if not shown or not rows:
        return None
    return Gallery(list(shown), [queries.item(row) for row in rows], examples, shown)


def size_of(item: Item) -> int:
    """Return the characters that an example takes on the page."""
    sound = item.sound or {}
    return len(item.picture) + len(item.text) + sum(len(str(part)) for part in sound.values())


def _strongest(scores: Scores, train: Examples, label: str) -> Strongest:
    """Return the strongest examples of one query, with scores relative to the strongest."""
    largest = float(np.abs(scores).max()) or 1.0

    def entries(rows: Iterable[int], proponents: bool) -> list[Influence]:
        return [
            Influence(
                row,
                float(f"{scores[row] / largest:.3g}"),
                surprising=train.has_classes and (train.label(row) == label) != proponents,
            )
            for row in rows
        ]

    strong, opposed = strongest(scores, SHOWN)
    return Strongest(entries(strong, proponents=True), entries(opposed, proponents=False))


def find_suspicious(
    method: str, scores: Scores, self_influence: Scores | None, flipped: NDArray[np.bool_] | None
) -> Suspicious:
    """Return the training examples whose labels are probably wrong, in the order that the metric ``mislabel`` evaluates.

    Args:
        method: name of the method.
        scores: (n_query, n_train) scores.
        self_influence: (n_train,) self-influence; None, or the same value everywhere, where the method has none.
        flipped: (n_train,) True where the label is known to be flipped; None if that is not known.
    """
    if self_influence is not None and np.ptp(self_influence) > 0:
        badness, order = self_influence, "self-influence"
    else:
        badness, order = -scores.mean(axis=0, dtype=np.float64), "minus the mean score"
    rows = [int(row) for row in np.argsort(-badness, kind="stable")[:SUSPICIOUS]]
    if flipped is None:
        return Suspicious(method, order, rows)
    known = {str(row): bool(flipped[row]) for row in rows}
    found = (
        f"{sum(known.values())} of these {len(rows)} have a flipped label; {int(flipped.sum())} of all {len(flipped)} "
        "examples do."
    )
    return Suspicious(method, order, rows, known, found)


def add_examples(gallery: Gallery, train: Examples, rows: Iterable[int]) -> Gallery:
    """Return a gallery that also holds other training examples, which further parts of the page show."""
    more: Mapping[str, Any] = {str(row): train.item(row) for row in rows if str(row) not in gallery.examples}
    return Gallery(gallery.methods, gallery.queries, {**gallery.examples, **more}, gallery.strongest)

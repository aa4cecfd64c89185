"""Heat maps of the gallery: which pixels or tokens of a query and of a training example make the score of the pair."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proponent.publish.png_pictures import NEGATIVE, POSITIVE
from proponent.publish.report.section import Gallery, Influence, Item, Strongest
from proponent.publish.report.shown_examples import Examples

_LEVELS = 7
"""Strengths of each sign that an overlay distinguishes: with 15 colours, its file has 4 bits per pixel."""
_OPAQUE = 215
"""Opacity of the strongest contribution, of 255."""

Contributions = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class ExplainedPairs:
    """Contributions of the features of both examples to the scores of some pairs, by one method.

    Args:
        pairs: (n, 2) row of the query and row of the training example.
        query: (n, height, width) contributions of the pixels of the query, or (n, length) of its tokens.
        train: the same for the training example.
    """

    pairs: NDArray[np.integer[Any]]
    query: Contributions
    train: Contributions


def overlay(values: Contributions) -> str:
    """Return contributions of pixels as a transparent picture: blue raises the score, vermilion lowers it.

    Args:
        values: (height, width) contributions; the largest absolute one has the strongest colour.

    Returns:
        Data URI of a PNG with a palette.
    """
    from PIL import Image

    picture = Image.fromarray((_LEVELS + _in_levels(values, _LEVELS)).astype(np.uint8), "P")
    signs = range(-_LEVELS, _LEVELS + 1)
    picture.putpalette([part for sign in signs for part in (POSITIVE if sign > 0 else NEGATIVE)])
    stream = io.BytesIO()
    opacity = bytes(round(_OPAQUE * abs(sign) / _LEVELS) for sign in signs)
    picture.save(stream, "PNG", optimize=True, transparency=opacity)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def add_heat(
    gallery: Gallery,
    train: Examples,
    queries: Examples,
    explained: Iterable[tuple[str, ExplainedPairs]],
    limit: int,
) -> Gallery:
    """Return a gallery with heat maps of the pairs that have contributions.

    Args:
        gallery: the gallery.
        train: training examples.
        queries: all queries.
        explained: contributions by method, in the order in which heat maps are added.
        limit: characters of heat maps after which no further method has any.
    """
    strongest, used, filled = dict(gallery.strongest), 0, False
    for method, pairs in explained:
        if method not in strongest:
            continue
        cases, size = _with_heat(gallery, strongest[method], pairs, train, queries)
        used += size
        if filled and used > limit:
            break
        strongest[method], filled = cases, True
    if not filled:
        return gallery
    shown_queries = [_with_pieces(item, queries) for item in gallery.queries]
    examples = {row: _with_pieces(item, train) for row, item in gallery.examples.items()}
    return Gallery(gallery.methods, shown_queries, examples, strongest)


def _with_heat(
    gallery: Gallery,
    cases: Sequence[Strongest],
    pairs: ExplainedPairs,
    train: Examples,
    queries: Examples,
) -> tuple[list[Strongest], int]:
    """Return the cases of one method with heat maps, and the characters of these."""
    places = {(int(query), int(example)): place for place, (query, example) in enumerate(pairs.pairs)}
    size = 0

    def of(query: int, entries: Sequence[Influence]) -> list[Influence]:
        nonlocal size
        found = []
        for entry in entries:
            place = places.get((query, entry.row))
            if place is not None:
                both = (pairs.query[place], pairs.train[place])
                if pairs.query.ndim == 3:
                    heat = (_turned(both[0], queries), _turned(both[1], train))
                    size += len(heat[0]) + len(heat[1])
                    entry = replace(entry, heat=heat)
                else:
                    weights = (_weights(both[0], queries, query), _weights(both[1], train, entry.row))
                    size += 4 * (len(weights[0]) + len(weights[1]))
                    entry = replace(entry, weights=weights)
            found.append(entry)
        return found

    shown = [
        Strongest(of(item.row, case.proponents), of(item.row, case.opponents))
        for item, case in zip(gallery.queries, cases, strict=True)
    ]
    return shown, size


def _turned(values: Contributions, examples: Examples) -> str:
    """Return the overlay of an example, which is drawn as its picture is: the lowest band of speech is at the bottom."""
    return overlay(values[::-1] if examples.spoken else values)


def _weights(values: Contributions, examples: Examples, row: int) -> list[int]:
    """Return the contribution of each shown token, from -100 to 100."""
    places = [place for place, _ in examples.pieces(row)]
    return [int(weight) for weight in _in_levels(values[places], 100)]


def _in_levels(values: Contributions, levels: int) -> NDArray[np.int64]:
    """Return contributions as whole numbers, relative to the largest absolute one."""
    finite = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    largest = float(np.abs(finite).max(initial=0.0)) or 1.0
    rounded: NDArray[np.int64] = np.round(levels * finite / largest).astype(np.int64)
    return rounded


def _with_pieces(item: Item, examples: Examples) -> Item:
    """Return an example with the parts of its text, where it is one; heat maps of pictures need nothing more."""
    pieces: Mapping[int, str] = {} if item.picture else dict(examples.pieces(item.row))
    return replace(item, pieces=list(pieces.values())) if pieces else item

"""Draws of examples and queries from two parts of a published dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from proponent.errors import UserError

T = TypeVar("T")


def draw(
    train: Sequence[T], query: Sequence[T], n_train: int | None, n_query: int | None, seed: int
) -> tuple[list[T], list[T]]:
    """Return training examples and queries in a random order.

    Args:
        train: records of the training part.
        query: records of the part with the queries.
        n_train: number of training examples; None for all.
        n_query: number of queries; None for all.
        seed: seed of the draw.

    Raises:
        UserError: there are not as many.
    """
    generator = np.random.default_rng(seed)
    found = []
    for name, rows, wanted in (("n_train", train, n_train), ("n_query", query, n_query)):
        if wanted is not None and not 0 < wanted <= len(rows):
            raise UserError(f"dataset.args.{name} must lie between 1 and {len(rows)}, not {wanted}")
        found.append([rows[place] for place in generator.permutation(len(rows))[:wanted]])
    return found[0], found[1]

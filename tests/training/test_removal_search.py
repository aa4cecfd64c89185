"""Bisection for the smallest size that flips."""

from __future__ import annotations

import pytest
import torch

from proponent.training.removal_search import Search


def searched(thresholds: list[int], largest: int, rounds: int) -> tuple[list[int], list[int], int]:
    """Return the bounds after some rounds for queries that flip from a threshold on, and the number of trials."""
    limits, search, trials = torch.tensor(thresholds), Search.start(len(thresholds), largest), 0
    for _ in range(rounds + 1):
        sizes = search.sizes()
        trials += int((sizes > 0).sum())
        search = search.after(sizes, (sizes > 0) & (sizes >= limits))
    return search.low.tolist(), search.high.tolist(), trials


@pytest.mark.parametrize("largest", [1, 2, 7, 300])
def test_enough_rounds_find_every_threshold(largest: int) -> None:
    thresholds = list(range(1, largest + 1))
    low, high, _ = searched(thresholds, largest, rounds=12)
    assert high == thresholds
    assert low == [threshold - 1 for threshold in thresholds]


def test_a_query_that_nothing_flips_is_tried_once() -> None:
    assert searched([500], 300, rounds=6) == ([300], [0], 1)


def test_six_rounds_bound_the_size_by_a_factor_of_about_a_tenth() -> None:
    low, high, trials = searched([3, 20, 77, 151, 300], 300, rounds=6)
    for lower, upper, threshold in zip(low, high, [3, 20, 77, 151, 300], strict=True):
        assert lower < threshold <= upper
        assert upper <= max(1.15 * lower, lower + 1)
    assert trials <= 5 * 7

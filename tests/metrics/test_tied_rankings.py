"""Closed forms of rankings with ties equal the mean over all orders of equal values, and scikit-learn without ties."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from oracles import rankings
from proponent.metrics.tied_rankings import (
    average_precision,
    chance_average_precision,
    inclusion,
    reciprocal_rank,
    tied_groups,
)

CASES = [np.random.default_rng(seed).integers(0, 4, 8).astype(float) for seed in range(6)]
RELEVANT = np.array([1, 0, 0, 1, 0, 1, 0, 0], dtype=bool)


@pytest.mark.parametrize("values", CASES, ids=str)
def test_tied_values_have_their_expectation(values):
    groups = tied_groups(values, RELEVANT)
    assert average_precision(*groups)[0] == pytest.approx(
        rankings.expected(rankings.average_precision, values, RELEVANT)
    )
    assert reciprocal_rank(*groups) == pytest.approx(
        rankings.expected(rankings.reciprocal_rank, values, RELEVANT)
    )
    for k in (1, 3, 8):
        chosen = inclusion(values[None], k)[0]
        assert chosen.sum() == pytest.approx(k)
        assert (chosen * RELEVANT).sum() / k == pytest.approx(
            rankings.expected(rankings.precision_at(k), values, RELEVANT)
        )


def test_without_ties_the_average_precision_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    values, relevant = rng.standard_normal(200), rng.random(200) < 0.1
    expected = average_precision_score(relevant, values)
    assert average_precision(*tied_groups(values, relevant))[0] == pytest.approx(expected)


def test_rows_of_counts_are_independent_rankings():
    rng = np.random.default_rng(0)
    relevant, others = rng.integers(0, 3, (5, 6)).astype(float), rng.integers(0, 4, (5, 6)).astype(float)
    relevant[:, 0] += 1
    together = average_precision(relevant, others)
    for row in range(5):
        values = np.repeat(-np.arange(6.0), (relevant + others)[row].astype(int))
        flags = np.concatenate(
            [
                np.repeat([True, False], [int(r), int(o)])
                for r, o in zip(relevant[row], others[row], strict=True)
            ]
        )
        alone = average_precision(*tied_groups(values, flags))
        assert together[row] == pytest.approx(alone[0])


def test_a_constant_ranking_has_the_value_of_a_random_one():
    rng = np.random.default_rng(0)
    relevant = np.arange(40) < 3
    drawn = [average_precision(*tied_groups(rng.standard_normal(40), relevant))[0] for _ in range(4000)]
    chance = chance_average_precision(3, 40)
    assert chance == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / np.sqrt(len(drawn)))
    assert chance == pytest.approx(average_precision(*tied_groups(np.zeros(40), relevant))[0])
    assert chance > 3 / 40

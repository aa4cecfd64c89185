"""Effects of groups, and LDS on subsets of several sizes, in a world whose retrainings are known."""

from __future__ import annotations

import numpy as np
import pytest

from oracles.retrained import AdditiveWorld
from oracles.statistics import spearman
from proponent.metrics import group_influence, lds_fractions
from proponent.metrics.lds import lds_of_arrays
from proponent.metrics.metric_inputs import MetricInputs

WORLD = AdditiveWorld(n_train=60, n_query=10, n_seeds=2)
GROUPS = np.arange(60) % 12


def inputs(scores: np.ndarray, **changes) -> MetricInputs:
    masks = np.concatenate([np.ones((1, 60), dtype=bool), np.array([g != GROUPS for g in range(12)])])
    rows = {"all": np.array(0), "clusters": np.arange(1, 13)}
    return MetricInputs(scores, derived={"shared": WORLD.retrainings(masks, rows)}, **changes)


def evaluate(scores: np.ndarray, **changes):
    found = group_influence.evaluate(inputs(scores, **changes), resamples=100)
    return found["group_influence_clusters"]


def test_true_effects_of_groups_correlate_perfectly():
    found = evaluate(WORLD.effects)
    assert found.value == pytest.approx(1)
    assert found.extras["n_groups"] == 12
    assert found.extras["ceiling"] == pytest.approx(1)
    assert evaluate(-WORLD.effects).value == pytest.approx(-1)


def test_the_value_is_the_mean_rank_correlation_of_summed_scores_and_effects():
    scores = WORLD.effects + 2 * np.random.default_rng(1).standard_normal(WORLD.effects.shape)
    each = []
    for q in range(10):
        predicted = [scores[q, g == GROUPS].sum() for g in range(12)]
        actual = [WORLD.effects[q, g == GROUPS].sum() for g in range(12)]
        each.append(spearman(np.array(predicted), np.array(actual)))
    found = evaluate(scores)
    assert found.value == pytest.approx(np.mean(each))
    assert found.ci_low < found.value < found.ci_high


def test_random_scores_are_within_the_interval_of_chance_and_equal_ones_count_as_zero():
    found = evaluate(np.random.default_rng(3).standard_normal(WORLD.effects.shape))
    assert found.ci_low < 0 < found.ci_high
    constant = evaluate(np.ones_like(WORLD.effects))
    assert (constant.value, constant.extras["n_constant"]) == (0, 10)


def test_plain_arrays_have_the_values_of_a_setting():
    scores = WORLD.effects + np.random.default_rng(1).standard_normal(WORLD.effects.shape)
    truth = inputs(scores).derived["shared"]
    found, expected = group_influence(scores, truth.masks, truth.targets, resamples=100), evaluate(scores)
    assert (found.value, found.ci_low, found.ci_high) == (expected.value, expected.ci_low, expected.ci_high)


def test_a_method_that_predicts_groups_is_asked_for_the_difference():
    found = evaluate(np.zeros_like(WORLD.effects), groups=lambda masks: masks @ WORLD.effects.T + 7.0)
    assert found.value == pytest.approx(1)


def test_lds_of_each_size_is_that_of_its_subsets():
    rng = np.random.default_rng(4)
    masks = np.concatenate([rng.permuted(np.arange(60) >= k, axis=0)[None] for k in [6] * 15 + [30] * 15])
    truth = WORLD.retrainings(masks, {"fractions": np.arange(30).reshape(2, 15)})
    scores = WORLD.effects + rng.standard_normal(WORLD.effects.shape)
    found = lds_fractions.evaluate(MetricInputs(scores, derived={"shared": truth}), resamples=50)
    assert set(found) == {"lds_removed_10", "lds_removed_50"}
    for name, rows in (("lds_removed_10", slice(0, 15)), ("lds_removed_50", slice(15, 30))):
        alone = lds_of_arrays(scores, masks[rows], truth.targets[rows], resamples=50)
        assert (found[name].value, found[name].ci_low) == (alone.value, alone.ci_low)

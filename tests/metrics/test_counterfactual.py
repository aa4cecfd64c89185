"""Removal of proponents in a world whose retrainings are known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from oracles.retrained import AdditiveWorld, drop_and_flips, removal_of
from proponent.errors import UserError
from proponent.metrics import counterfactual
from proponent.metrics.compare import compare
from proponent.metrics.metric_inputs import DerivedRetrainings, MetricInputs

SIZES = [1, 3, 9]
WORLD = AdditiveWorld()
N_QUERY, N_TRAIN = WORLD.effects.shape


def shared(has_classes: bool = True) -> DerivedRetrainings:
    """All examples in row 0, and a random removal per query."""
    rng = np.random.default_rng(5)
    masks, rows = removal_of(np.array([rng.permutation(N_TRAIN) for _ in range(N_QUERY)]), SIZES)
    everything = np.ones((1, N_TRAIN), dtype=bool)
    found = {"all": np.array(0), "random": 1 + rows}
    return WORLD.retrainings(np.concatenate([everything, masks]), found, has_classes)


def own(scores: np.ndarray, has_classes: bool = True) -> DerivedRetrainings:
    masks, rows = removal_of(np.argsort(-scores, axis=1), SIZES)
    return WORLD.retrainings(masks, {"scores": rows}, has_classes)


def evaluate(scores: np.ndarray, has_classes: bool = True, **derived: DerivedRetrainings):
    given = {"own": own(scores, has_classes), "shared": shared(has_classes), **derived}
    return counterfactual.evaluate(MetricInputs(scores, derived=given), resamples=200)


def area(points: list[float]) -> float:
    return float(np.trapezoid(points, np.log(SIZES)) / np.ptp(np.log(SIZES)))


@pytest.mark.parametrize("sign", [1, -1])
def test_values_equal_brute_force(sign):
    found = evaluate(sign * WORLD.effects)
    drops, flips = drop_and_flips(WORLD, np.argsort(-sign * WORLD.effects, axis=1), SIZES)
    assert found["counterfactual_drop"].extras["curve_scores"] == pytest.approx(drops)
    assert found["counterfactual_flips"].extras["curve_scores"] == pytest.approx(flips)
    assert found["counterfactual_drop"].value == pytest.approx(area(drops))
    assert found["counterfactual_flips"].value == pytest.approx(area(flips))
    assert found["counterfactual_drop"].extras["sizes"] == SIZES


def test_true_effects_drop_most_and_random_ones_stay_within_the_interval_of_chance():
    best = evaluate(WORLD.effects)["counterfactual_drop"]
    assert best.extras["over_random_low"] > 0
    rng = np.random.default_rng(1)
    chance = evaluate(rng.standard_normal(WORLD.effects.shape))["counterfactual_drop"]
    assert chance.extras["over_random_low"] < 0 < chance.extras["over_random_high"]
    (pair,) = compare(
        {"best": best.value, "chance": chance.value},
        {"best": best.replicates, "chance": chance.replicates},
    )
    assert pair.method_a == "best" and not pair.tied


def test_no_scores_drop_more_than_the_true_effects():
    rng = np.random.default_rng(2)
    best = evaluate(WORLD.effects)["counterfactual_drop"].value
    others = [evaluate(rng.standard_normal(WORLD.effects.shape)) for _ in range(5)]
    assert all(other["counterfactual_drop"].value < best for other in others)


def test_the_smallest_number_of_examples_that_flips_is_that_of_brute_force():
    found = evaluate(WORLD.effects)["counterfactual_flips"].extras
    expected = []
    for q in range(N_QUERY):
        order = np.argsort(-WORLD.effects[q])
        flipped = [
            k
            for k in SIZES
            if np.mean([WORLD.offsets[r, q] + WORLD.effects[q, order[k:]].sum() <= 0 for r in range(3)])
            >= 0.5
        ]
        expected.append(min(flipped, default=None))
    assert found["smallest_flip"] == expected
    assert found["share_flipped"] == pytest.approx(np.mean([k is not None for k in expected]))


def test_queries_that_were_wrong_before_do_not_count_as_flips():
    everything = shared()
    wrong = everything.correct.copy()
    wrong[0, :, :4] = False
    found = evaluate(WORLD.effects, shared=dataclasses.replace(everything, correct=wrong))
    assert found["counterfactual_flips"].extras["n_queries"] == N_QUERY - 4
    assert found["counterfactual_drop"].extras["n_queries"] == N_QUERY


@pytest.mark.parametrize("sign", [1, -1])
def test_plain_arrays_have_the_values_of_a_setting(sign):
    derived, full = own(sign * WORLD.effects), shared()
    expected = evaluate(sign * WORLD.effects)
    rows = derived.rows["scores"]
    queries = np.arange(N_QUERY)[:, None]
    after, correct = (
        np.moveaxis(values[rows, :, queries], 0, 2) for values in (derived.targets, derived.correct)
    )
    found = counterfactual(
        SIZES,
        full.targets[0],
        after,
        correct_before=full.correct[0],
        correct_after=correct,
        resamples=200,
    )
    assert set(found) == set(expected)
    for name, estimate in found.items():
        assert estimate.value == pytest.approx(expected[name].value)
        assert (estimate.ci_low, estimate.ci_high) == pytest.approx(
            (expected[name].ci_low, expected[name].ci_high)
        )
        assert estimate.extras["curve_scores"] == pytest.approx(expected[name].extras["curve_scores"])


def test_tasks_without_classes_have_a_drop_and_no_flips():
    assert set(evaluate(WORLD.effects, has_classes=False)) == {"counterfactual_drop"}


def test_a_diverged_retraining_is_left_out_and_a_mask_without_any_is_an_error():
    broken = own(WORLD.effects)
    targets = broken.targets.copy()
    targets[4, 1] = np.nan
    found = evaluate(WORLD.effects, own=dataclasses.replace(broken, targets=targets))
    assert found["counterfactual_drop"].extras["n_diverged"] == 1
    targets[4] = np.nan
    with pytest.raises(UserError, match="all retrainings on 1 of 36 masks diverged; lower the recipe's lr"):
        evaluate(WORLD.effects, own=dataclasses.replace(broken, targets=targets))


def test_without_a_design_the_metric_says_so():
    with pytest.raises(UserError, match="has no 'design'"):
        counterfactual.evaluate(MetricInputs(WORLD.effects))

"""Accuracy without the most suspicious examples, in a world whose retrainings are known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from oracles.retrained import AdditiveWorld
from proponent.errors import UserError
from proponent.metrics import cleaning_gain
from proponent.metrics.metric_inputs import DerivedRetrainings, MetricInputs

N_TRAIN, N_QUERY, REMOVED = 40, 60, [4, 8]
WORLD = AdditiveWorld(N_TRAIN, N_QUERY, n_seeds=2)
WRONG = np.arange(N_TRAIN) % 5 == 0
WORLD.effects -= 3 * WRONG  # wrong labels harm all queries
RNG = np.random.default_rng(1)
WORLD.offsets = RNG.normal(-3, 3, N_QUERY) + RNG.normal(0, 0.3, (2, N_QUERY)) - WORLD.effects.sum(axis=1)
EVERYTHING = np.ones((1, N_TRAIN), dtype=bool)


def without(order: np.ndarray) -> np.ndarray:
    return np.array([~np.isin(np.arange(N_TRAIN), order[:size]) for size in REMOVED])


def given(badness: np.ndarray, has_classes: bool = True, seed: int = 0) -> dict[str, DerivedRetrainings]:
    rng = np.random.default_rng(seed)
    random = np.concatenate([without(rng.permutation(N_TRAIN)) for _ in range(3)])
    rows = {"all": np.array(0), "random": 1 + np.arange(6).reshape(3, 2)}
    return {
        "own": WORLD.retrainings(without(np.argsort(-badness)), {"suspects": np.arange(2)}, has_classes),
        "shared": WORLD.retrainings(np.concatenate([EVERYTHING, random]), rows, has_classes),
    }


def evaluate(badness: np.ndarray, has_classes: bool = True, **changes: DerivedRetrainings):
    derived = given(badness, has_classes) | changes
    return cleaning_gain.evaluate(MetricInputs(np.zeros((N_QUERY, N_TRAIN)), derived=derived), resamples=200)


def quality(mask: np.ndarray, has_classes: bool) -> float:
    """Return the accuracy (or the mean target) after training on a mask, one query and seed after the other."""
    found = [WORLD.target(mask, r, q) for r in range(2) for q in range(N_QUERY)]
    return float(np.mean([target > 0 for target in found] if has_classes else found))


@pytest.mark.parametrize("has_classes", [True, False])
def test_values_equal_brute_force(has_classes):
    badness = WRONG + np.linspace(0, 0.1, N_TRAIN)
    found = evaluate(badness, has_classes)
    assert list(found) == ["cleaning_gain_10", "cleaning_gain_20"]
    before = quality(EVERYTHING[0], has_classes)
    random = given(badness)["shared"].masks[1:].reshape(3, 2, -1)
    for place, (estimate, mask) in enumerate(zip(found.values(), without(np.argsort(-badness)), strict=True)):
        after = quality(mask, has_classes)
        chance = np.mean([quality(masks[place], has_classes) for masks in random]) - before
        assert estimate.value == pytest.approx(after - before)
        assert estimate.extras["before"] == pytest.approx(before)
        assert estimate.extras["after"] == pytest.approx(after)
        assert estimate.extras["random"] == pytest.approx(chance)
        assert estimate.extras["over_random"] == pytest.approx(after - before - chance)
        assert estimate.extras["n_removed"] == REMOVED[place]
        assert estimate.extras["utility"] == ("accuracy" if has_classes else "target")
        assert len(estimate.extras["per_query"]) == N_QUERY


def test_plain_arrays_have_the_values_of_a_setting():
    derived, expected = given(WRONG + 0.0), evaluate(WRONG + 0.0)["cleaning_gain_20"]
    found = cleaning_gain(derived["shared"].correct[0], derived["own"].correct[1], resamples=200)
    assert (found.value, found.ci_low, found.ci_high) == pytest.approx(
        (expected.value, expected.ci_low, expected.ci_high)
    )


def test_removing_wrong_labels_gains_and_removing_good_examples_does_not():
    assert all(estimate.ci_low > 0 for estimate in evaluate(WRONG + 0.0).values())
    helpful = evaluate(WORLD.effects.mean(axis=0), has_classes=False)
    assert all(estimate.ci_high < 0 for estimate in helpful.values())
    assert all(estimate.extras["over_random_high"] < 0 for estimate in helpful.values())


def test_the_interval_covers_the_noise_that_the_queries_of_a_model_share():
    rng = np.random.default_rng(3)
    inside = []
    for _ in range(200):
        before = rng.normal(0, 1, (10, 50))
        after = before + rng.normal(0, 0.5, (10, 1)) + rng.normal(0, 0.1, (10, 50))
        found = cleaning_gain(before, after, resamples=200)
        inside.append(found.ci_low <= 0 <= found.ci_high)
    assert 0.85 <= np.mean(inside) <= 0.99


def test_random_removals_are_within_the_range_of_chance():
    inside = []
    for seed in range(60):
        badness = np.random.default_rng(100 + seed).standard_normal(N_TRAIN)
        found = evaluate(badness, has_classes=False, shared=given(badness, False, seed)["shared"])
        inside += [e.extras["chance_low"] <= e.value <= e.extras["chance_high"] for e in found.values()]
    assert np.mean(inside) >= 0.85


def test_a_diverged_retraining_is_left_out_and_a_mask_without_any_is_an_error():
    broken = given(WRONG + 0.0)["own"]
    targets = broken.targets.copy()
    targets[1, 1] = np.nan
    found = evaluate(WRONG + 0.0, own=dataclasses.replace(broken, targets=targets))
    assert found["cleaning_gain_20"].extras["n_diverged"] == 1
    targets[1] = np.nan
    with pytest.raises(UserError, match=r"metric cleaning-gain: all retrainings on .* diverged"):
        evaluate(WRONG + 0.0, own=dataclasses.replace(broken, targets=targets))


def test_without_a_design_the_metric_says_so():
    with pytest.raises(UserError, match="has no 'design'"):
        cleaning_gain.evaluate(MetricInputs(np.zeros((N_QUERY, N_TRAIN))))

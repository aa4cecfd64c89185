"""Gains by one step on proponents, in a world in which a step adds the effects of its examples."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from oracles.retrained import AdditiveWorld
from proponent.errors import UserError
from proponent.metrics import tail_patch
from proponent.metrics.metric_inputs import DerivedRetrainings, MetricInputs

K = 3
WORLD = AdditiveWorld(n_train=40, n_query=20, n_seeds=2)
N_QUERY, N_TRAIN = WORLD.effects.shape


def first(orders: np.ndarray) -> np.ndarray:
    return np.array([np.isin(np.arange(N_TRAIN), order[:K]) for order in orders])


def steps(masks: np.ndarray, rows: dict[str, np.ndarray]) -> DerivedRetrainings:
    return WORLD.retrainings(masks, rows, has_classes=False)


def own(scores: np.ndarray) -> DerivedRetrainings:
    return steps(first(np.argsort(-scores, axis=1)), {"scores": np.arange(N_QUERY)})


def shared(seed: int = 5) -> DerivedRetrainings:
    rng = np.random.default_rng(seed)
    masks = first(np.array([rng.permutation(N_TRAIN) for _ in range(N_QUERY)]))
    nothing = np.zeros((1, N_TRAIN), dtype=bool)
    return steps(np.concatenate([nothing, masks]), {"none": np.array(0), "random": 1 + np.arange(N_QUERY)})


def evaluate(scores: np.ndarray, **derived: DerivedRetrainings):
    given = {"own": own(scores), "shared": shared(), **derived}
    return tail_patch.evaluate(MetricInputs(scores, derived=given), resamples=200)["tail_patch"]


@pytest.mark.parametrize("sign", [1, -1])
def test_the_value_is_the_mean_gain_of_each_querys_own_target(sign):
    found = evaluate(sign * WORLD.effects)
    expected = [np.sort(sign * row)[-K:].sum() * sign for row in WORLD.effects]
    assert found.value == pytest.approx(np.mean(expected))
    assert found.extras["per_query"] == pytest.approx(expected)
    assert np.sign(found.value) == sign
    assert found.ci_low < found.value < found.ci_high


def test_the_control_is_the_same_step_on_random_examples():
    chance = shared()
    expected = np.mean([WORLD.effects[q, chance.masks[1 + q]].sum() for q in range(N_QUERY)])
    found = evaluate(WORLD.effects).extras
    assert found["random"] == pytest.approx(expected)
    assert found["over_random_low"] > 0
    assert not [name for name in found if name.startswith("curve_")]


def test_random_scores_are_within_the_interval_of_chance():
    covered = []
    for seed in range(30):
        scores = np.random.default_rng(100 + seed).standard_normal(WORLD.effects.shape)
        found = evaluate(scores, shared=shared(seed)).extras
        covered.append(found["over_random_low"] <= 0 <= found["over_random_high"])
    assert np.mean(covered) >= 0.8


def test_plain_arrays_have_the_values_of_a_setting():
    derived, queries = own(WORLD.effects), np.arange(N_QUERY)
    after = derived.targets[queries, :, queries].T
    found = tail_patch(shared().targets[0], after, resamples=200)
    expected = evaluate(WORLD.effects)
    assert (found.value, found.ci_low, found.ci_high) == pytest.approx(
        (expected.value, expected.ci_low, expected.ci_high)
    )


def test_a_diverged_step_is_left_out_and_a_mask_without_any_is_an_error():
    broken = own(WORLD.effects)
    targets = broken.targets.copy()
    targets[4, 1] = np.nan
    assert evaluate(WORLD.effects, own=dataclasses.replace(broken, targets=targets)).extras["n_diverged"] == 1
    targets[4] = np.nan
    with pytest.raises(UserError, match="metric tail-patch: all retrainings on 1 of 20 masks diverged"):
        evaluate(WORLD.effects, own=dataclasses.replace(broken, targets=targets))


def test_without_a_design_the_metric_says_so():
    with pytest.raises(UserError, match="has no 'design'"):
        tail_patch.evaluate(MetricInputs(WORLD.effects))

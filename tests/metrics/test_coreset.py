"""Training on the most and the least valuable examples, in a world whose retrainings are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from oracles.retrained import AdditiveWorld
from proponent.metrics import coreset
from proponent.metrics.metric_inputs import DerivedRetrainings, MetricInputs
from proponent.metrics.retrained_curves import chance_range

N_TRAIN, N_QUERY, KEPT = 40, 30, [8, 20, 32]
WORLD = AdditiveWorld(N_TRAIN, N_QUERY, n_seeds=2)
WORLD.effects += np.linspace(1, -1, N_TRAIN)  # examples are good or bad for all queries
WORLD.offsets = -WORLD.effects.sum(axis=1) / 2 + np.zeros((2, 1))


def firsts(order: np.ndarray) -> np.ndarray:
    return np.array([np.isin(np.arange(N_TRAIN), order[:size]) for size in KEPT])


def given(values: np.ndarray, has_classes: bool = True, seed: int = 0) -> dict[str, DerivedRetrainings]:
    order = np.argsort(-values)
    own = np.concatenate([firsts(order), firsts(order[::-1])])
    rng = np.random.default_rng(seed)
    random = np.concatenate([firsts(rng.permutation(N_TRAIN)) for _ in range(4)])
    everything = np.ones((1, N_TRAIN), dtype=bool)
    return {
        "own": WORLD.retrainings(own, {"best": np.arange(3), "worst": np.arange(3, 6)}, has_classes),
        "shared": WORLD.retrainings(
            np.concatenate([everything, random]),
            {"all": np.array(0), "random": 1 + np.arange(12).reshape(4, 3)},
            has_classes,
        ),
    }


def evaluate(values: np.ndarray, has_classes: bool = True):
    inputs = MetricInputs(np.zeros((N_QUERY, N_TRAIN)), derived=given(values, has_classes))
    return coreset.evaluate(inputs, resamples=200)


def utility(mask: np.ndarray, has_classes: bool) -> float:
    """Return the accuracy (or the mean target) after training on a mask, one query and seed after the other."""
    found = [WORLD.target(mask, r, q) for r in range(2) for q in range(N_QUERY)]
    return float(np.mean([target > 0 for target in found] if has_classes else found))


@pytest.mark.parametrize("has_classes", [True, False])
def test_values_equal_brute_force(has_classes):
    values = WORLD.effects.mean(axis=0)
    found, derived = evaluate(values, has_classes), given(values, has_classes)
    best = [utility(mask, has_classes) for mask in firsts(np.argsort(-values))]
    worst = [utility(mask, has_classes) for mask in firsts(np.argsort(values))]
    random = derived["shared"].masks[1:].reshape(4, 3, -1)
    chance = [np.mean([utility(masks[k], has_classes) for masks in random]) for k in range(3)]
    shares = np.array(KEPT) / N_TRAIN
    for name, curve in (
        ("coreset_keep_best", np.subtract(best, chance)),
        ("coreset_remove_best", np.subtract(chance, worst)),
    ):
        assert found[name].value == pytest.approx(np.trapezoid(curve, shares) / np.ptp(shares))
    extras = found["coreset_keep_best"].extras
    assert extras["curve_best"] == pytest.approx(best)
    assert extras["curve_random"] == pytest.approx(chance)
    assert extras["shares"] == pytest.approx(shares)
    assert extras["all"] == pytest.approx(utility(np.ones(N_TRAIN, dtype=bool), has_classes))
    assert extras["utility"] == ("accuracy" if has_classes else "target")


def test_plain_arrays_have_the_values_of_a_setting():
    values = WORLD.effects.mean(axis=0)
    derived, expected = given(values), evaluate(values)["coreset_keep_best"]
    chosen, random = derived["own"].correct[:3], derived["shared"].correct[1:].reshape(4, 3, 2, N_QUERY)
    shares = np.array(KEPT) / N_TRAIN
    found = coreset(shares, chosen, random, resamples=200)
    assert found.value == pytest.approx(expected.value)
    assert (found.ci_low, found.ci_high) == pytest.approx((expected.ci_low, expected.ci_high))
    one_order = coreset(shares, chosen, random[0], resamples=200)
    assert one_order.extras["curve_random"] == pytest.approx(random[0].mean(axis=(1, 2)))


def test_true_values_gain_and_opposite_ones_lose():
    values = WORLD.effects.mean(axis=0)
    assert all(estimate.ci_low > 0 for estimate in evaluate(values).values())
    assert all(estimate.ci_high < 0 for estimate in evaluate(-values).values())


def test_random_choices_are_within_the_range_of_chance():
    """The interval over queries does not cover the choice of the examples, the range of chance does."""
    inside = []
    for seed in range(60):
        derived = given(
            np.random.default_rng(100 + seed).standard_normal(N_TRAIN), has_classes=False, seed=seed
        )
        found = coreset.evaluate(MetricInputs(np.zeros((N_QUERY, N_TRAIN)), derived=derived), resamples=10)
        inside += [e.extras["chance_low"] <= e.value <= e.extras["chance_high"] for e in found.values()]
    assert np.mean(inside) >= 0.85


def test_the_range_of_chance_is_the_prediction_interval_of_a_normal_sample():
    values = np.array([0.3, 0.5, 0.1, 0.7])
    low, high = t.interval(0.95, 3, loc=0.2, scale=values.std(ddof=1) * np.sqrt(1.25))
    assert chance_range(values, 0.2) == pytest.approx({"chance_low": low, "chance_high": high})
    assert chance_range(values[:1]) == {}


def test_a_second_design_has_names_of_its_own():
    inputs = MetricInputs(np.zeros((N_QUERY, N_TRAIN)), derived=given(WORLD.effects.mean(axis=0)))
    found = coreset.evaluate(inputs, name="coreset_balanced", resamples=10)
    assert set(found) == {"coreset_balanced_keep_best", "coreset_balanced_remove_best"}

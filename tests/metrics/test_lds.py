"""LDS on worlds whose LDS is known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from oracles.statistics import spearman
from proponent.errors import UserError
from proponent.metrics import lds
from proponent.metrics.metric_inputs import MetricInputs, Retrainings

N_TRAIN, N_QUERY = 40, 12


def half_masks(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.argsort(rng.random((count, N_TRAIN)), axis=1) < N_TRAIN // 2


def additive_world(count: int = 60, n_seeds: int = 2, noise: float = 0.0) -> tuple[np.ndarray, Retrainings]:
    """Weights of the examples for each query, and targets that are their sums over each subset."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((N_QUERY, N_TRAIN)).astype(np.float32)
    masks = half_masks(rng, count)
    expected = masks.astype(float) @ weights.T.astype(float)
    targets = expected[:, None] + noise * rng.standard_normal((count, n_seeds, N_QUERY))
    return weights, Retrainings(masks, targets)


def evaluate(scores: np.ndarray, truth: Retrainings, resamples: int = 100):
    return lds.evaluate(MetricInputs(scores, ground_truth={"subsets": truth}), resamples=resamples)["lds"]


def test_the_true_weights_score_one_and_so_does_every_resample():
    weights, truth = additive_world()
    estimate = evaluate(weights, truth)
    assert (estimate.value, estimate.ci_low, estimate.ci_high) == pytest.approx((1.0, 1.0, 1.0))
    assert estimate.extras["ceiling"] == pytest.approx(1.0)
    assert estimate.extras["lds_over_ceiling"] == pytest.approx(1.0)


def test_the_negated_weights_score_minus_one():
    weights, truth = additive_world()
    assert evaluate(-weights, truth).value == pytest.approx(-1.0)


def test_random_scores_score_about_zero_within_the_interval():
    _, truth = additive_world()
    scores = np.random.default_rng(1).standard_normal((N_QUERY, N_TRAIN)).astype(np.float32)
    estimate = evaluate(scores, truth, resamples=400)
    assert abs(estimate.value) < 0.1
    assert estimate.ci_low < 0 < estimate.ci_high


@pytest.mark.parametrize("constant", [0.0, 0.1, -3.7])
def test_constant_predictions_score_zero_and_are_counted(constant):
    weights, truth = additive_world()
    scores = weights.copy()
    scores[:4] = constant
    estimate = evaluate(scores, truth)
    assert estimate.extras["n_constant"] == 4
    assert estimate.extras["per_query"][:4] == [0.0] * 4
    assert estimate.value == pytest.approx(8 / 12)


def test_a_query_with_a_constant_target_scores_zero_and_is_counted():
    weights, truth = additive_world()
    truth.targets[:, :, 2] = 5.0
    estimate = evaluate(weights, truth)
    assert estimate.extras["n_constant_targets"] == 1
    assert estimate.value == pytest.approx(11 / 12)


def test_each_query_equals_scipys_spearman_with_the_mean_over_seeds():
    weights, truth = additive_world(noise=4.0)
    scores = np.round(weights)  # sums with many ties
    per_query = evaluate(scores, truth).extras["per_query"]
    predicted = truth.masks.astype(float) @ scores.astype(float).T
    expected = [spearman(predicted[:, q], truth.targets[:, :, q].mean(axis=1)) for q in range(N_QUERY)]
    np.testing.assert_allclose(per_query, expected, rtol=0, atol=1e-12)


def test_positive_scaling_of_a_query_changes_nothing():
    weights, truth = additive_world(noise=4.0)
    scale = np.exp(np.random.default_rng(2).standard_normal((N_QUERY, 1)))
    assert evaluate(weights * scale, truth).value == pytest.approx(evaluate(weights, truth).value, abs=1e-3)


def test_the_same_seed_gives_the_same_bytes():
    weights, truth = additive_world(noise=4.0)
    first, second = (json.dumps(evaluate(weights, truth).as_dict()) for _ in range(2))
    assert first == second


def test_with_one_seed_there_is_no_ceiling():
    weights, truth = additive_world(n_seeds=1, noise=1.0)
    extras = evaluate(weights, truth).extras
    assert extras["ceiling"] is None
    assert extras["lds_over_ceiling"] is None
    assert extras["lds_over_ceiling_high"] is None


def test_no_ratio_is_given_to_a_ceiling_that_may_be_noise():
    weights, truth = additive_world(noise=1000.0)
    extras = evaluate(weights, truth).extras
    assert extras["ceiling"] < 0.3
    assert extras["lds_over_ceiling"] is None


def with_pairs(truth: Retrainings, pairs: Retrainings) -> dict:
    inputs = MetricInputs(additive_world()[0], ground_truth={"subsets": truth, "complements": pairs})
    return lds.evaluate(inputs, resamples=100)["lds"].extras


def pairs_of(weights: np.ndarray, noise: float = 0.0, count: int = 40) -> Retrainings:
    first = half_masks(np.random.default_rng(3), count)
    masks = np.stack([first, ~first], axis=1).reshape(-1, N_TRAIN)
    sums = masks.astype(float) @ weights.T
    return Retrainings(masks, (sums + noise * np.random.default_rng(4).standard_normal(sums.shape))[:, None])


def test_in_an_additive_world_both_ceilings_are_equal():
    weights, truth = additive_world(noise=2.0)
    extras = with_pairs(truth, pairs_of(weights, noise=2.0))
    assert extras["ceiling_additive"] == pytest.approx(extras["ceiling"], abs=0.01)
    assert extras["ceiling_additive_low"] <= extras["ceiling_additive"] <= extras["ceiling_additive_high"]
    assert extras["additive_share"] == pytest.approx(1.0, abs=0.03)


def test_a_diverged_pair_is_left_out():
    weights, truth = additive_world(noise=2.0)
    pairs = pairs_of(weights, noise=2.0)
    pairs.targets[9] = np.nan
    rest = np.delete(np.arange(80), [8, 9])
    clean = Retrainings(pairs.masks[rest], pairs.targets[rest])
    assert with_pairs(truth, pairs) == with_pairs(truth, clean)


def test_only_designs_of_halves_have_an_additive_ceiling():
    weights, truth = additive_world(noise=2.0)
    smaller = Retrainings(truth.masks & (np.arange(N_TRAIN) < 30), truth.targets)
    assert "ceiling_additive" not in with_pairs(smaller, pairs_of(weights))
    assert "ceiling_additive" not in evaluate(weights, truth).extras


def test_diverged_retrainings_are_left_out_for_all_queries_and_counted():
    weights, truth = additive_world()
    truth.targets[3, 1, 5] = np.nan  # one query of one seed of subset 3: seed 0 still counts
    truth.targets[8] = np.inf  # subset 8 altogether
    estimate = evaluate(weights, truth)
    assert estimate.extras["n_diverged"] == 3
    assert estimate.extras["diverged"] == [[3, 1], [8, 0], [8, 1]]
    assert estimate.value == pytest.approx(1.0)
    rest = np.delete(np.arange(60), 8)
    clean = Retrainings(truth.masks[rest], truth.targets[rest])
    clean.targets[3, 1] = clean.targets[3, 0]
    assert estimate.value == evaluate(weights, clean).value
    assert (estimate.replicates == evaluate(weights, clean).replicates).all()


def test_too_many_diverged_retrainings_are_an_error():
    weights, truth = additive_world(count=20)
    truth.targets[:11] = np.nan
    with pytest.raises(
        UserError,
        match=r"9 of 20 retrained subsets are usable, at least 10 .*\(22 of 40 retrainings diverged\)",
    ):
        evaluate(weights, truth)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_an_error(bad):
    weights, truth = additive_world()
    weights[7, 30] = weights[2, 11] = bad
    with pytest.raises(
        UserError, match=r"^scores: 2 of 480 values are NaN or infinite, the first at query 2, example 11$"
    ):
        evaluate(weights, truth)


def test_scores_of_the_wrong_shape_are_an_error():
    weights, truth = additive_world()
    expected = r"^scores: expected shape \(n_query, n_train\) = \(12, 40\), found \(40, 12\)$"
    with pytest.raises(UserError, match=expected):
        evaluate(weights.T, truth)


def test_an_estimate_is_stored_as_json_with_its_replicates():
    weights, truth = additive_world(noise=4.0)
    estimate = evaluate(weights, truth)
    stored = json.loads(json.dumps(estimate.as_dict(), allow_nan=False))
    assert stored["ci_low"] < stored["value"] < stored["ci_high"] < stored["ceiling_high"]
    np.testing.assert_allclose(stored["replicates"], estimate.replicates, atol=1e-7)

"""Leave-one-out correlation on known effects."""

from __future__ import annotations

import numpy as np
import pytest

from oracles.statistics import pearson, spearman
from proponent.errors import UserError
from proponent.metrics import loo
from proponent.metrics.metric_inputs import MetricInputs, Retrainings

N_TRAIN, N_QUERY = 30, 8


def world(n_seeds: int = 2, noise: float = 0.0) -> tuple[np.ndarray, Retrainings]:
    """Effects of every example, and retrainings without examples 3, 5, ..., 25; seeds shift all targets."""
    rng = np.random.default_rng(0)
    effects = rng.standard_normal((N_QUERY, N_TRAIN))
    examples = np.arange(3, 27, 2)
    masks = np.ones((1 + len(examples), N_TRAIN), dtype=bool)
    masks[1 + np.arange(len(examples)), examples] = False
    full = 10 * rng.standard_normal((n_seeds, N_QUERY))
    targets = full[None] - (~masks @ effects.T)[:, None]
    return effects, Retrainings(masks, targets + noise * rng.standard_normal(targets.shape))


def evaluate(scores: np.ndarray, truth: Retrainings):
    return loo.evaluate(MetricInputs(scores, ground_truth={"loo": truth}), resamples=100)["loo"]


def test_the_true_effects_correlate_perfectly_whatever_the_seeds():
    effects, truth = world()
    estimate = evaluate(effects, truth)
    assert estimate.value == pytest.approx(1.0)
    assert estimate.extras["pearson"] == pytest.approx(1.0)
    assert estimate.extras["ceiling"] == pytest.approx(1.0)
    assert estimate.extras["reliability"] == pytest.approx(1.0)


def test_an_example_that_raises_the_target_when_present_has_a_positive_score():
    effects, truth = world()
    assert evaluate(-effects, truth).value == pytest.approx(-1.0)


def test_the_value_equals_scipy_with_the_paired_difference_averaged_over_seeds():
    effects, truth = world(n_seeds=3, noise=0.7)
    effect = (truth.targets[:1] - truth.targets[1:]).mean(axis=1)
    scores = effects[:, 3:27:2].T
    estimate = evaluate(effects, truth)
    assert estimate.value == pytest.approx(
        np.mean([spearman(scores[:, q], effect[:, q]) for q in range(N_QUERY)])
    )
    linear = np.mean([pearson(scores[:, q], effect[:, q]) for q in range(N_QUERY)])
    assert estimate.extras["pearson"] == pytest.approx(linear)
    assert estimate.extras["pearson_low"] < linear < estimate.extras["pearson_high"]
    assert estimate.ci_low < estimate.value < estimate.ci_high


def test_noise_of_the_effects_lowers_the_ceiling():
    _, quiet = world(n_seeds=2, noise=0.2)
    effects, loud = world(n_seeds=2, noise=3.0)
    assert evaluate(effects, loud).extras["ceiling"] < evaluate(effects, quiet).extras["ceiling"]


def test_a_diverged_retraining_is_left_out_and_counted():
    effects, truth = world()
    truth.targets[4, 1] = np.nan
    estimate = evaluate(effects, truth)
    assert estimate.value == pytest.approx(1.0)
    assert estimate.extras["diverged"] == [[4, 1]]


def test_if_the_full_run_diverged_its_seed_is_left_out():
    effects, truth = world()
    truth.targets[0, 0] = np.nan
    estimate = evaluate(effects, truth)
    assert estimate.value == pytest.approx(1.0)
    assert estimate.extras["n_diverged"] == 1
    assert estimate.extras["ceiling"] is None


def test_a_row_that_does_not_leave_out_exactly_one_example_is_an_error():
    effects, truth = world()
    truth.masks[2, 0] = False
    with pytest.raises(UserError, match="'loo': row 2 leaves out 2 examples"):
        evaluate(effects, truth)


def test_scores_are_checked():
    effects, truth = world()
    with pytest.raises(UserError, match="found \\(8, 29\\)"):
        evaluate(effects[:, 1:], truth)

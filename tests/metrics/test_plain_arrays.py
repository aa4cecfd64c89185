"""Metrics called with plain arrays, as somebody does who has scores from elsewhere."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import proponent
from proponent.errors import UserError
from proponent.metrics.metric_inputs import MetricInputs, Retrainings

RNG = np.random.default_rng(0)
N_TRAIN, N_QUERY, SUBSETS = 20, 3, 40
SCORES = RNG.standard_normal((N_QUERY, N_TRAIN))
MASKS = RNG.random((SUBSETS, N_TRAIN)) < 0.5
TARGETS = MASKS @ SCORES.T + RNG.standard_normal((SUBSETS, N_QUERY))


def test_lds_is_the_mean_rank_correlation_over_queries():
    found = proponent.metrics.lds(SCORES, MASKS, TARGETS, resamples=50)
    predicted = MASKS @ SCORES.T.astype(np.float32)
    each = [spearmanr(predicted[:, q], TARGETS[:, q]).statistic for q in range(N_QUERY)]
    assert found.value == pytest.approx(np.mean(each), abs=1e-6)
    assert found.ci_low < found.value < found.ci_high


def test_plain_arrays_and_metrics_of_a_setting_agree():
    seeds = np.stack([TARGETS, TARGETS + RNG.standard_normal(TARGETS.shape)], axis=1)
    from proponent.metrics import lds, lds_fixed_seed, loo

    truth = Retrainings(MASKS, seeds)
    inputs = MetricInputs(SCORES, ground_truth={"subsets": truth, "subsets_fixed_seed": truth})
    expected = lds.evaluate(inputs, resamples=20)["lds"]
    for metric in (lds, lds_fixed_seed):
        found = metric(torch.tensor(SCORES), torch.tensor(MASKS), torch.tensor(seeds), resamples=20)
        assert (found.value, found.ci_low, found.ci_high) == (
            expected.value,
            expected.ci_low,
            expected.ci_high,
        )
    masks = np.vstack([np.ones(N_TRAIN), 1 - np.eye(N_TRAIN)])
    effects = np.vstack([np.zeros(N_QUERY), -SCORES.T])
    assert loo(SCORES, masks, effects, resamples=20).value == pytest.approx(1)


def test_mislabel_detection():
    flipped = np.arange(N_TRAIN) < 5
    found = proponent.metrics.mislabel(-1.0 * flipped[None], flipped, resamples=20)
    assert found["mislabel_auc"].value == 1
    own = proponent.metrics.mislabel(SCORES, flipped, self_influence=-1.0 * flipped, resamples=20)
    assert own["mislabel_auc"].value == 0


@pytest.mark.parametrize(
    ("masks", "targets", "reason"),
    [
        (MASKS, TARGETS[:-1], r"masks and targets: expected shapes .* found \(40, 20\) and \(39, 3\)"),
        (MASKS[:, :-1], TARGETS, r"scores: expected shape \(n_query, n_train\) = \(3, 19\)"),
        (MASKS * 2, TARGETS, "masks: expected True"),
    ],
)
def test_arrays_that_do_not_fit_are_one_line(masks, targets, reason):
    with pytest.raises(UserError, match=reason) as refusal:
        proponent.metrics.lds(SCORES, masks, targets)
    assert "\n" not in str(refusal.value)


def test_metrics_need_no_torch():
    code = "import proponent, sys; proponent.metrics.lds; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("wrong", [np.array([1, 5, 7]), np.arange(12) % 10], ids=["indices", "labels"])
def test_noisy_labels_are_flags(wrong):
    with pytest.raises(UserError, match="noisy_labels: expected"):
        proponent.metrics.mislabel(np.random.default_rng(0).normal(size=(3, 12)), wrong)

"""Detection of flipped labels: against scikit-learn, against all pairs, and on cases with an obvious answer."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from oracles.statistics import auc
from proponent.errors import UserError
from proponent.metrics import mislabel
from proponent.metrics.metric_inputs import MetricInputs
from proponent.metrics.tied_rankings import average_precision, tied_groups

N = 200
FLIPPED = np.arange(N) % 10 == 0


def evaluate(badness: np.ndarray, resamples: int = 50):
    inputs = MetricInputs(np.zeros((3, N)), self_influence=badness, noisy_labels=FLIPPED)
    return mislabel.evaluate(inputs, resamples=resamples)


def test_perfect_badness_finds_all_in_the_first_tenth():
    found = evaluate(FLIPPED.astype(float))
    assert found["mislabel_auc"].value == 1.0
    assert found["mislabel_ap"].value == 1.0
    assert [found[f"mislabel_found_{p}"].value for p in (5, 10, 20, 30)] == [0.5, 1.0, 1.0, 1.0]
    assert all(estimate.value == pytest.approx(estimate.extras["best"]) for estimate in found.values())


def test_a_constant_self_influence_is_replaced_by_the_mean_score():
    scores = np.where(FLIPPED, -1.0, 1.0) * np.ones((3, 1))
    inputs = MetricInputs(scores, self_influence=np.ones(N), noisy_labels=FLIPPED)
    assert mislabel.evaluate(inputs, resamples=10)["mislabel_auc"].value == 1.0


def test_constant_badness_finds_the_share_that_is_inspected():
    found = evaluate(np.ones(N))
    assert found["mislabel_auc"].value == 0.5
    assert [found[f"mislabel_found_{p}"].value for p in (10, 20, 30)] == pytest.approx([0.1, 0.2, 0.3])
    assert all(estimate.value == pytest.approx(estimate.extras["chance"]) for estimate in found.values())


@pytest.mark.parametrize("ties", [False, True])
def test_the_auc_equals_scikit_learn_and_the_comparison_of_all_pairs(ties):
    badness = np.random.default_rng(0).standard_normal(N) + FLIPPED
    if ties:
        badness = np.round(badness)
    value = evaluate(badness)["mislabel_auc"].value
    assert value == pytest.approx(roc_auc_score(FLIPPED, badness))
    assert value == pytest.approx(auc(badness, FLIPPED))


@pytest.mark.parametrize("ties", [False, True])
def test_replicates_equal_explicit_resamples(ties):
    rng = np.random.default_rng(1)
    badness = rng.standard_normal(N) + 2 * FLIPPED
    if ties:
        badness = np.round(badness)
    bad = rng.integers(3, size=(4, FLIPPED.sum())).astype(float)
    good = rng.integers(3, size=(4, (~FLIPPED).sum())).astype(float)
    distinct, group = np.unique(-badness, return_inverse=True)
    by_group = [
        mislabel.count_by_group(c, g, len(distinct))
        for c, g in ((bad, group[FLIPPED]), (good, group[~FLIPPED]))
    ]
    for b, row in enumerate(mislabel.values_of_counts(*by_group)):
        copies = np.empty(N, dtype=int)
        copies[FLIPPED], copies[~FLIPPED] = bad[b], good[b]
        worse, label = np.repeat(badness, copies), np.repeat(FLIPPED, copies)
        assert row[0] == pytest.approx(roc_auc_score(label, worse))
        assert row[1] == pytest.approx(average_precision(*tied_groups(worse, label))[0])
        for share, percent in zip(row[2:], mislabel.INSPECTED, strict=True):
            cut = percent / 100 * len(worse)
            assert share == pytest.approx(expected_found(worse, label, cut))


def expected_found(badness: np.ndarray, flipped: np.ndarray, cut: float) -> float:
    """Return the share found, averaged over the orders of equal badness."""
    found = 0.0
    for value in np.unique(badness)[::-1]:
        group = badness == value
        found += flipped[group].mean() * np.clip(cut, 0, group.sum())
        cut -= group.sum()
    return found / flipped.sum()


def test_without_ties_the_average_precision_is_that_of_scikit_learn():
    badness = np.random.default_rng(3).standard_normal(N) + FLIPPED
    expected = average_precision_score(FLIPPED, badness)
    assert evaluate(badness)["mislabel_ap"].value == pytest.approx(expected)


def test_random_orders_have_the_value_of_chance_within_the_interval():
    flipped = np.arange(1000) % 10 == 0
    found = [
        mislabel(rng.standard_normal((1, 1000)), flipped, resamples=100)
        for rng in map(np.random.default_rng, range(30))
    ]
    for name in found[0]:
        chance = found[0][name].extras["chance"]
        inside = [estimates[name].ci_low <= chance <= estimates[name].ci_high for estimates in found]
        assert np.mean(inside) >= 0.8, name


def test_without_ties_the_share_found_is_a_count():
    badness = np.random.default_rng(2).standard_normal(N) + FLIPPED
    first = np.argsort(-badness)[:40]
    assert evaluate(badness)["mislabel_found_20"].value == pytest.approx(FLIPPED[first].sum() / FLIPPED.sum())


def test_without_self_influence_an_example_that_lowers_the_targets_is_suspicious():
    scores = np.random.default_rng(0).standard_normal((6, N)) - 5 * FLIPPED
    estimate = mislabel.evaluate(MetricInputs(scores, noisy_labels=FLIPPED), resamples=20)["mislabel_auc"]
    assert estimate.value == pytest.approx(auc(-scores.mean(axis=0), FLIPPED))
    assert estimate.extras["badness"] == "mean score"
    assert evaluate(scores[0])["mislabel_auc"].extras["badness"] == "self-influence"


def test_intervals_contain_the_value_and_stay_within_bounds():
    for estimate in evaluate(
        np.random.default_rng(0).standard_normal(N) + 4 * FLIPPED, resamples=300
    ).values():
        assert 0 <= estimate.ci_low <= estimate.value <= estimate.ci_high <= 1


@pytest.mark.parametrize("flipped", [np.zeros(N, dtype=bool), np.ones(N, dtype=bool)])
def test_a_setting_without_both_kinds_of_labels_is_an_error(flipped):
    with pytest.raises(UserError, match="of 200 labels are flipped"):
        mislabel.evaluate(MetricInputs(np.zeros((3, N)), noisy_labels=flipped))


def test_self_influence_is_checked():
    with pytest.raises(
        UserError, match=r"self_influence: expected shape \(n_train,\) = \(200,\), found \(199,\)"
    ):
        evaluate(np.zeros(N - 1))
    with pytest.raises(
        UserError, match="self_influence: 1 of 200 values are NaN or infinite, the first at example 6"
    ):
        evaluate(np.where(np.arange(N) == 6, np.nan, 0.0))

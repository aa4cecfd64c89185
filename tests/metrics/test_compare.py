"""Paired comparisons, Holm's correction, and ranks with ties."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from proponent.metrics import lds
from proponent.metrics.compare import compare, holm, ranks
from proponent.metrics.metric_inputs import MetricInputs, Retrainings


def test_holm_by_hand():
    # Sorted .01 .02 .03 .04, times 4 3 2 1 = .04 .06 .06 .04, then never below the previous value.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def replicates(rng: np.random.Generator, value: float, common: np.ndarray, own: float) -> np.ndarray:
    return value + common + own * rng.standard_normal(len(common))


def test_differences_are_paired_so_that_common_noise_cancels():
    rng = np.random.default_rng(0)
    common = 0.2 * rng.standard_normal(500)
    found = {"a": replicates(rng, 0.52, common, 0.005), "b": replicates(rng, 0.5, common, 0.005)}
    (pair,) = compare({"a": 0.52, "b": 0.5}, found)
    assert (pair.method_a, pair.method_b, pair.difference) == ("a", "b", pytest.approx(0.02))
    assert 0 < pair.ci_low < 0.02 < pair.ci_high < 0.04
    assert not pair.tied


def test_methods_are_tied_if_the_interval_contains_zero():
    rng = np.random.default_rng(0)
    zero = np.zeros(500)
    (pair,) = compare({"a": 0.51, "b": 0.5}, {m: replicates(rng, 0.5, zero, 0.05) for m in "ab"})
    assert pair.ci_low < 0 < pair.ci_high
    assert pair.tied


def test_the_p_value_is_that_of_a_normal_difference():
    spread = np.random.default_rng(0).standard_normal(400)
    (pair,) = compare({"a": 2.1, "b": 0.0}, {"a": spread, "b": np.zeros(400)})
    assert pair.p_holm == pytest.approx(2 * norm.sf(2.1 / np.std(spread, ddof=1)), rel=1e-12)


def test_methods_are_tied_if_the_corrected_p_value_is_not_significant():
    rng = np.random.default_rng(0)
    values = {f"m{i:02}": 0.5 + 0.008 * i for i in range(12)}
    pairs = compare(values, {m: replicates(rng, v, np.zeros(800), 0.02) for m, v in values.items()})
    spared = [p for p in pairs if p.ci_low > 0 and p.p_holm >= 0.05]
    assert spared
    assert all(p.tied for p in spared)
    assert all(p.tied == (p.ci_low <= 0 or p.p_holm >= 0.05) for p in pairs)


def test_identical_methods_are_tied_and_methods_without_noise_are_not():
    same = np.linspace(0.4, 0.6, 50)
    (pair,) = compare({"a": 0.5, "b": 0.5}, {"a": same, "b": same})
    assert (pair.difference, pair.p_holm, pair.tied) == (0.0, 1.0, True)
    (pair,) = compare({"a": 1.0, "b": 0.0}, {"a": np.ones(50), "b": np.zeros(50)})
    assert (pair.p_holm, pair.tied) == (0.0, False)


def test_a_method_shares_the_rank_of_the_leader_only():
    """a-b and b-c are tied but a-c is not: c leads a new rank, because b does not lead one."""
    rng = np.random.default_rng(0)
    values = {"a": 0.6, "b": 0.55, "c": 0.5, "d": 0.1}
    pairs = compare(values, {m: replicates(rng, v, np.zeros(500), 0.02) for m, v in values.items()})
    tied = {(p.method_a, p.method_b) for p in pairs if p.tied}
    assert tied == {("a", "b"), ("b", "c")}
    assert ranks(values, pairs) == {"a": 1, "b": 1, "c": 3, "d": 4}


def test_a_single_method_has_rank_1():
    assert compare({"a": 0.5}, {"a": np.zeros(3)}) == []
    assert ranks({"a": 0.5}, []) == {"a": 1}


def test_replicates_of_different_resamples_are_refused():
    with pytest.raises(ValueError, match="different resamples"):
        compare({"a": 0.5, "b": 0.4}, {"a": np.zeros(3), "b": np.zeros(4)})


def test_two_methods_that_were_evaluated_separately_are_paired():
    """The replicates of a method and of the same method with a little noise differ by little in every resample."""
    rng = np.random.default_rng(0)
    masks = rng.random((50, 20)) < 0.5
    scores = rng.standard_normal((6, 20))
    targets = (masks @ scores.T)[:, None] + 2 * rng.standard_normal((50, 2, 6))
    truth = {"subsets": Retrainings(masks, targets)}
    first, second = (
        lds.evaluate(MetricInputs(s, ground_truth=truth), resamples=200)["lds"]
        for s in (scores, scores + 1e-3 * rng.standard_normal(scores.shape))
    )
    assert np.std(first.replicates - second.replicates) < 0.05 * np.std(first.replicates)

"""The smallest removal that changes a prediction, in bits."""

from __future__ import annotations

import numpy as np
import pytest

from proponent.errors import UserError
from proponent.metrics import data_support
from proponent.metrics.metric_inputs import MetricInputs, RemovalSearch

N_TRAIN = 1024


def search(**orders: list[int]) -> RemovalSearch:
    """Searches with the smallest size of each query; -1 for a query that is not predicted correctly at all."""
    sizes = np.concatenate([np.array(own) for own in orders.values()])
    rows = np.arange(len(sizes)).reshape(len(orders), -1)
    names = dict(zip(orders, rows, strict=True))
    return RemovalSearch(np.maximum(sizes, 0), np.where(sizes < 0, 0.0, 1.0), names, N_TRAIN)


def evaluate(own: list[int], **controls: list[int]):
    given = {"own": search(scores=own), "shared": search(**(controls or {"random": [512] * len(own)}))}
    return data_support.evaluate(MetricInputs(np.zeros((5, N_TRAIN)), searches=given), resamples=200)[
        "data_support"
    ]


def test_the_value_is_the_mean_number_of_bits():
    found = evaluate([1, 2, 512, 0, 64])
    assert found.value == pytest.approx(np.mean([10, 9, 1, 0, 4]))
    assert found.extras["smallest"] == [1, 2, 512, None, 64]
    assert found.extras["share_changed"] == pytest.approx(0.8)
    assert found.ci_low < found.value < found.ci_high


def test_plain_arrays_have_the_values_of_a_setting():
    found, expected = data_support([1, 2, 512, 0, 64], N_TRAIN, resamples=200), evaluate([1, 2, 512, 0, 64])
    assert (found.value, found.ci_low, found.ci_high) == pytest.approx(
        (expected.value, expected.ci_low, expected.ci_high)
    )
    assert found.extras["share_changed"] == pytest.approx(0.8)


def test_queries_that_were_wrong_before_are_left_out():
    found = evaluate([4, -1, 16, -1, 4], random=[512] * 5, same_class=[0, 1, 256, 1, 128])
    assert found.extras["per_query"] == [8, 6, 8]
    assert found.extras["random"] == pytest.approx(1)
    assert found.extras["same_class"] == pytest.approx(np.mean([0, 2, 3]))
    assert found.extras["over_random"] == pytest.approx(22 / 3 - 1)
    assert found.extras["over_random_low"] > 0


def test_a_method_like_its_control_is_within_the_interval_of_chance():
    rng = np.random.default_rng(0)
    own, control = (2 ** rng.integers(3, 10, 40) for _ in range(2))
    found = evaluate(own.tolist(), random=control.tolist())
    assert found.extras["over_random_low"] < 0 < found.extras["over_random_high"]


def test_without_searches_or_correct_queries_the_metric_says_so():
    with pytest.raises(UserError, match="has no 'design'"):
        data_support.evaluate(MetricInputs(np.zeros((5, N_TRAIN))))
    with pytest.raises(UserError, match="no query is predicted correctly"):
        evaluate([-1, -1])

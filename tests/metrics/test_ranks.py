"""The fast resampling of correlations equals explicit resamples that are ranked from scratch."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from oracles.statistics import correlations, pearson, spearman
from proponent.metrics.ranks import resampled_pearson, resampled_ranks, resampled_spearman
from proponent.metrics.statistics import draw, draw_counts


def variables(ties: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((15, 4))
    y = x + rng.standard_normal((15, 4))
    if ties:
        x, y = np.round(x), np.round(2 * y) / 2
    return x, y


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(
    ("engine", "plain"),
    [(resampled_spearman, spearman), (resampled_pearson, pearson)],
    ids=["spearman", "pearson"],
)
def test_correlations_equal_a_loop_over_explicit_resamples(engine, plain, ties):
    x, y = variables(ties)
    counts = draw(15, 4, resamples=60, seed=1).units
    np.testing.assert_allclose(engine(x, y, counts), correlations(plain, x, y, counts), rtol=0, atol=1e-12)


def test_correlations_of_the_sample_itself_equal_scipy():
    x, y = variables(ties=True)
    expected = [spearmanr(x[:, q], y[:, q]).statistic for q in range(4)]
    np.testing.assert_allclose(resampled_spearman(x, y, np.ones((15, 1)))[0], expected, rtol=0, atol=1e-12)


def test_ranks_are_centred_mid_ranks():
    values = np.array([2.0, 1.0, 2.0, 5.0])
    assert resampled_ranks(values, np.ones((4, 1)))[:, 0].tolist() == (rankdata(values) - 2.5).tolist()


@pytest.mark.parametrize("engine", [resampled_spearman, resampled_pearson])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e8])
def test_the_correlation_with_a_constant_is_zero(engine, constant):
    x = np.full((10, 1), constant)
    y = np.arange(10.0)[:, None]
    assert engine(x, y, np.ones((10, 1))).item() == 0.0
    assert engine(y, x, np.ones((10, 1))).item() == 0.0


@pytest.mark.parametrize("engine", [resampled_spearman, resampled_pearson])
def test_the_correlation_in_a_resample_of_a_single_unit_is_zero(engine):
    x, y = variables(ties=False)
    counts = np.zeros((15, 1))
    counts[7] = 15
    assert (engine(x, y, counts) == 0).all()


def test_some_units_may_be_left_out():
    """The ceiling uses only subsets whose seeds are complete, in resamples that were drawn for all subsets."""
    x, y = variables(ties=False)
    counts = draw(15, 4, resamples=20, seed=0).units
    kept = np.arange(15) % 3 > 0
    fast = resampled_spearman(x[kept], y[kept], counts[kept])
    np.testing.assert_allclose(
        fast, correlations(spearman, x[kept], y[kept], counts[kept]), rtol=0, atol=1e-12
    )


def test_resamples_start_with_the_sample_itself_and_depend_on_the_seed_only():
    first, again, other = draw(12, 5, 30, seed=4), draw(12, 5, 30, seed=4), draw(12, 5, 30, seed=5)
    assert (first.units[:, 0] == 1).all()
    assert np.allclose(first.queries[0], 1 / 5)
    assert (first.units == again.units).all()
    assert (first.queries == again.queries).all()
    assert (first.units != other.units).any()
    assert (first.units.sum(axis=0) == 12).all()
    assert np.allclose(first.queries.sum(axis=1), 1)


def test_a_larger_number_of_resamples_starts_with_the_same_resamples():
    assert (draw_counts(9, 40, seed=0)[:10] == draw_counts(9, 10, seed=0)).all()


def test_the_mean_over_queries_is_weighted_by_how_often_each_was_drawn():
    joint = draw(4, 3, 10, seed=0)
    per_query = np.arange(33.0).reshape(11, 3)
    drawn = np.round(joint.queries * 3).astype(int)
    expected = [np.repeat(values, times).mean() for values, times in zip(per_query, drawn, strict=True)]
    np.testing.assert_allclose(joint.mean(per_query), expected)

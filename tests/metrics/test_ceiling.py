"""The Spearman-Brown ceiling is what a predictor without any noise reaches."""

from __future__ import annotations

import numpy as np
import pytest

from oracles.statistics import World, spearman
from proponent.metrics.ceiling import ceiling, spearman_brown, splits
from proponent.metrics.statistics import draw


@pytest.mark.parametrize("n_seeds", [2, 3, 4, 5])
@pytest.mark.parametrize("noise", [0.4, 1.0])
def test_equals_the_correlation_of_the_noise_free_predictor(n_seeds, noise):
    world = World(follow=(1.0,), noise=noise, n_seeds=n_seeds)
    _, targets, expected = world.draw(np.random.default_rng(0), n_subsets=2000, n_query=30)
    joint = draw(2000, 30, resamples=2, seed=0)
    measured = targets.mean(axis=1)
    attained = np.mean([spearman(expected[:, q], measured[:, q]) for q in range(30)])
    assert ceiling(targets, joint.units, joint).value == pytest.approx(attained, abs=0.01)


def test_anticorrelated_halves_count_as_no_reliability():
    targets = np.stack([np.arange(10.0), -np.arange(10.0)], axis=1)[:, :, None]
    joint = draw(10, 1, resamples=5, seed=0)
    assert ceiling(targets, joint.units, joint).value == 0.0


@pytest.mark.parametrize("shape", [(50, 1, 4), (2, 2, 4)], ids=["one seed", "two subsets"])
def test_there_is_none_where_nothing_can_be_halved(shape):
    joint = draw(shape[0], 4, resamples=5, seed=0)
    assert ceiling(np.zeros(shape), joint.units, joint) is None


def test_splits_use_every_seed_equally_often_and_none_twice_in_one():
    for n_seeds in range(2, 8):
        found = splits(n_seeds)
        assert len({frozenset(split) for split in found}) == len(found)
        used = np.bincount([seed for a, b in found for seed in (*a, *b)], minlength=n_seeds)
        assert (used == used[0]).all()
        assert all(not set(a) & set(b) and len(a) == len(b) == n_seeds // 2 for a, b in found)


def test_spearman_brown_by_hand():
    assert spearman_brown(np.array([0.5, -0.2]), 2.0).tolist() == pytest.approx([2 / 3, 0.0])

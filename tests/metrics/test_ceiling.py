"""Ceilings equal what a noise-free predictor, or the best sum of scores, reaches."""

from __future__ import annotations

import numpy as np
import pytest

from oracles.statistics import World, all_halves, best_sum, spearman
from proponent.metrics.ceiling import additive_ceiling, ceiling, spearman_brown, splits
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


def test_anticorrelated_halves_have_no_reliability():
    targets = np.stack([np.arange(10.0), -np.arange(10.0)], axis=1)[:, :, None]
    joint = draw(10, 1, resamples=5, seed=0)
    assert ceiling(targets, joint.units, joint).value == 0.0


@pytest.mark.parametrize("shape", [(50, 1, 4), (2, 2, 4)], ids=["one seed", "two subsets"])
def test_without_two_seeds_and_three_subsets_there_is_no_ceiling(shape):
    joint = draw(shape[0], 4, resamples=5, seed=0)
    assert ceiling(np.zeros(shape), joint.units, joint) is None


def test_splits_use_every_seed_equally_often_and_at_most_once_per_split():
    for n_seeds in range(2, 8):
        found = splits(n_seeds)
        assert len({frozenset(split) for split in found}) == len(found)
        used = np.bincount([seed for a, b in found for seed in (*a, *b)], minlength=n_seeds)
        assert (used == used[0]).all()
        assert all(not set(a) & set(b) and len(a) == len(b) == n_seeds // 2 for a, b in found)


def test_spearman_brown_by_hand():
    assert spearman_brown(np.array([0.5, -0.2]), 2.0).tolist() == pytest.approx([2 / 3, 0.0])


def of_all_halves(values: np.ndarray) -> float:
    """Return the additive ceiling of noise-free targets of all halves, (n_halves,)."""
    targets = np.stack([values, values], axis=1)[:, :, None]
    pairs = np.stack([values, values[::-1]], axis=1)[: len(values) // 2, :, None, None]
    joint = draw(len(values), 1, resamples=1, seed=0)
    return additive_ceiling(targets, joint.units, pairs, joint, seed=0).value


def test_the_additive_ceiling_of_a_monotone_function_of_a_sum_is_one():
    masks = all_halves(10)
    total = masks @ np.random.default_rng(0).standard_normal(10)
    assert of_all_halves(total) == pytest.approx(1.0)
    assert of_all_halves(np.exp(2 * total)) == pytest.approx(1.0)


@pytest.mark.parametrize("strength", [0.3, 0.7, 1.5])
def test_no_sum_exceeds_the_additive_ceiling_and_the_best_is_close_to_it(strength):
    """Pairs of examples interact: the ranks of the target have an even part, which no sum can predict."""
    rng = np.random.default_rng(1)
    masks = all_halves(12)
    signs = masks - 0.5
    interactions = rng.standard_normal((12, 12)) / 3
    target = signs @ rng.standard_normal(12) + strength * np.einsum("mi,ij,mj->m", signs, interactions, signs)
    bound = of_all_halves(target)
    reached = best_sum(masks, target, rng, tries=300)
    assert bound - 0.1 < reached < bound < 0.995


def test_the_additive_ceiling_is_zero_if_a_half_and_its_complement_have_the_same_target():
    masks = all_halves(10)
    value = np.random.default_rng(0).standard_normal(len(masks))
    assert of_all_halves(value + value[::-1]) == pytest.approx(0.0)


def test_with_noise_the_additive_ceiling_is_what_the_additive_part_reaches():
    """The target of each query is a sum, plus interactions of pairs of examples, plus noise of each seed."""
    rng = np.random.default_rng(2)
    n, n_query, noise = 200, 20, 0.6
    weights = rng.standard_normal((n, n_query)) / np.sqrt(n / 4)
    interactions = np.stack([rng.standard_normal((n, n)) / n * 2.2 for _ in range(n_query)])

    def expected(masks: np.ndarray) -> np.ndarray:
        signs = masks - 0.5
        return signs @ weights + np.stack([((signs @ a) * signs).sum(1) for a in interactions], axis=1)

    def halves(count: int) -> np.ndarray:
        return np.argsort(rng.random((count, n)), axis=1) < n // 2

    def noisy(values: np.ndarray) -> np.ndarray:
        return values + noise * rng.standard_normal(values.shape)

    masks, first = halves(1500), halves(600)
    targets = noisy(np.repeat(expected(masks)[:, None], 2, axis=1))
    pairs = noisy(np.stack([expected(first), expected(~first)], axis=1))[:, :, None]
    joint = draw(len(masks), n_query, resamples=2, seed=0)
    found = additive_ceiling(targets, joint.units, pairs, joint, seed=0)
    sums, measured = masks @ weights, targets.mean(axis=1)
    reached = np.mean([spearman(sums[:, q], measured[:, q]) for q in range(n_query)])
    everything = ceiling(targets, joint.units, joint).value
    assert found.value == pytest.approx(reached, abs=0.02)
    assert found.value < everything - 0.05


def test_without_seeds_pairs_or_an_effect_of_subsets_there_is_no_additive_ceiling():
    joint = draw(50, 4, resamples=5, seed=0)
    some = np.random.default_rng(0).standard_normal((50, 2, 1, 4))
    assert additive_ceiling(np.zeros((50, 1, 4)), joint.units, some, joint, seed=0) is None
    assert additive_ceiling(some[:, :, 0], joint.units, some[:2], joint, seed=0) is None
    assert additive_ceiling(np.zeros((50, 2, 4)), joint.units, some, joint, seed=0) is None

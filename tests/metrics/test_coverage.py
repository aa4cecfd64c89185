"""The 95 % intervals contain the true value in about 95 % of simulated worlds.

With N worlds the share covered has a standard error of sqrt(.95 * .05 / N): .022 for the quick version (N =
100), .011 for the slow one (N = 400). Intervals are joint over subsets and queries, which counts the noise of
each pair of a subset and a query up to three times (Owen, 2007): harmless where methods predict the target,
conservative for random scores.
"""

from __future__ import annotations

import numpy as np
import pytest

from oracles.statistics import World
from proponent.metrics.ceiling import ceiling
from proponent.metrics.compare import compare
from proponent.metrics.estimate import Estimate
from proponent.metrics.ranks import resampled_spearman
from proponent.metrics.statistics import draw


def simulate(world: World, n_worlds: int, n_subsets: int, n_query: int, seed: int = 0) -> dict[str, float]:
    """Return the share of worlds in which the interval of each quantity contains the true value.

    ``lds`` is the LDS of the first method, ``difference`` its difference from the second. ``distinguished`` is the
    share of worlds in which the two methods are not tied.
    """
    rng = np.random.default_rng(seed)
    lds, limit = world.truth()
    covered: dict[str, list[bool]] = {"lds": [], "difference": [], "ceiling": [], "distinguished": []}
    for k in range(n_worlds):
        predicted, targets, _ = world.draw(rng, n_subsets, n_query)
        joint = draw(n_subsets, n_query, 200, seed=k)
        means = [joint.mean(resampled_spearman(p, targets.mean(axis=1), joint.units)) for p in predicted]
        estimates = [Estimate.from_replicates(m[0], m[1:], (-1.0, 1.0)) for m in means]
        (pair,) = compare(
            dict(zip("ab", (m[0] for m in means), strict=True)),
            dict(zip("ab", (m[1:] for m in means), strict=True)),
        )
        difference = (lds[0] - lds[1]) * (1 if pair.method_a == "a" else -1)
        top = ceiling(targets, joint.units, joint)
        covered["lds"].append(estimates[0].ci_low <= lds[0] <= estimates[0].ci_high)
        covered["difference"].append(pair.ci_low <= difference <= pair.ci_high)
        covered["ceiling"].append(top.ci_low <= limit <= top.ci_high)
        covered["distinguished"].append(not pair.tied)
    return {name: float(np.mean(held)) for name, held in covered.items()}


def test_intervals_cover():
    covered = simulate(World(follow=(1.5, 1.0), noise=0.5), n_worlds=100, n_subsets=60, n_query=20)
    for name in ("lds", "difference", "ceiling"):
        assert 0.88 <= covered[name] <= 1.0, (name, covered)


def test_random_scores_are_not_reported_to_work():
    covered = simulate(World(follow=(0.0, 0.0), noise=0.5), n_worlds=60, n_subsets=60, n_query=20)
    assert covered["lds"] >= 0.9
    assert covered["distinguished"] <= 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("follow", "noise", "n_subsets", "n_query", "least"),
    [
        ((1.5, 1.0), 0.4, 100, 60, 0.92),  # LDS .78, ceiling .95: a good method on quiet ground truth
        ((1.5, 1.2), 1.5, 100, 60, 0.92),  # ceiling .66
        ((0.5, 0.5), 0.5, 100, 60, 0.92),  # LDS .44, two equally good methods
        ((3.0, 1.5), 0.2, 20, 20, 0.92),  # LDS .93 and few subsets: the plain percentile interval covers .76
        ((1.5, 1.0), 0.4, 100, 10, 0.87),  # ten queries are a small sample
    ],
)
def test_intervals_cover_in_many_worlds(follow, noise, n_subsets, n_query, least):
    covered = simulate(World(follow, noise), 400, n_subsets, n_query)
    for name in ("lds", "difference", "ceiling"):
        assert least <= covered[name] <= 0.999, (name, covered)
    if follow[0] == follow[1]:
        assert covered["distinguished"] <= 0.07


@pytest.mark.slow
def test_intervals_that_resample_seeds_within_a_mask_would_not_cover():
    """Reason why seeds are not resampled: doing so adds noise that the target does not have."""
    world = World(follow=(1.5,), noise=1.5)
    ((truth,), _) = world.truth()
    rng = np.random.default_rng(0)
    held = []
    for k in range(60):
        (predicted,), targets, _ = world.draw(rng, 100, 30)
        joint = draw(100, 30, 100, seed=k)
        nested = []
        for b in range(1, 101):
            rows = np.repeat(np.arange(100), joint.units[:, b].astype(int))
            again = targets[rows[:, None], rng.integers(2, size=(100, 2))].mean(axis=1)
            nested.append(joint.queries[b] @ resampled_spearman(predicted[rows], again, np.ones((100, 1)))[0])
        low, high = np.quantile(nested, [0.025, 0.975])
        held.append(low <= truth <= high)
    assert np.mean(held) < 0.7

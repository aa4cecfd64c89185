"""Slow versions of what proponent.metrics computes fast, and a world with known correlations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import pearsonr, rankdata


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Return Pearson's correlation of SciPy's mid-ranks; 0 where one of them is constant."""
    return pearson(rankdata(x), rankdata(y))


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Return SciPy's correlation; 0 where a variable is constant."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(pearsonr(x, y).statistic)


def explicit_resample(counts: np.ndarray, *columns: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield the columns of each resample with repeated rows written out; counts is (m, B)."""
    for b in range(counts.shape[1]):
        rows = np.repeat(np.arange(len(counts)), counts[:, b].astype(int))
        yield tuple(column[rows] for column in columns)


def correlations(
    correlation: Callable[[np.ndarray, np.ndarray], float], x: np.ndarray, y: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Return the correlations (B, n_query) of the columns, with each resample written out and ranked from scratch."""
    return np.array(
        [
            [correlation(a[:, q], b[:, q]) for q in range(x.shape[1])]
            for a, b in explicit_resample(counts, x, y)
        ]
    )


def auc(badness: np.ndarray, flipped: np.ndarray) -> float:
    """Return the probability that a flipped example looks worse than a clean one, ties counted half, from all pairs."""
    bad, good = badness[flipped][:, None], badness[~flipped][None, :]
    return float(((bad > good) + 0.5 * (bad == good)).mean())


def all_halves(n: int) -> np.ndarray:
    """Return all halves of n examples, (C(n, n / 2), n) bool; row -1 - i is the complement of row i."""
    return np.array([[i in half for i in range(n)] for half in combinations(range(n), n // 2)])


def best_sum(masks: np.ndarray, target: np.ndarray, rng: np.random.Generator, tries: int) -> float:
    """Return the best rank correlation between a sum over kept examples and the target that hill climbing finds."""
    ranks = rankdata(target)
    weights = np.linalg.lstsq(masks - 0.5, ranks - ranks.mean(), rcond=None)[0]
    best = spearman(masks @ weights, target)
    for _ in range(tries):
        moved = weights + rng.standard_normal(len(weights)) * rng.choice([0.03, 0.1, 0.3]) * weights.std()
        found = spearman(masks @ moved, target)
        if found > best:
            best, weights = found, moved
    return best


@dataclass(frozen=True)
class World:
    """Subsets, seeds and queries that are jointly Gaussian, so that rank correlations have closed forms.

    Over subsets, a query's expected target is Gaussian with loadings on a few hidden factors; so are the
    error of the prediction and the noise of a retraining. Queries are a random sample of loadings with a
    common part, which makes them correlate as queries of one model do. Spearman's correlation of two
    Gaussians with correlation r is 6 / pi * arcsin(r / 2).
    """

    follow: tuple[float, ...]
    """Weight of the expected target in the predictions of each method; 0 is a random score."""
    noise: float
    """Standard deviation over seeds, relative to the expected target's."""
    n_seeds: int = 2
    factors: int = 6

    def truth(self) -> tuple[list[float], float]:
        """Return the LDS of each method and the ceiling, in the limit of many subsets and queries."""
        loadings = self._loadings(np.random.default_rng(0), 100_000)
        target, error, seed = ((part**2).sum(axis=1) for part in loadings)
        measured = target + self.noise**2 * seed / self.n_seeds
        linear = [
            follow * target / np.sqrt((follow**2 * target + error) * measured) for follow in self.follow
        ]
        lds, ceiling = (
            [float((6 / np.pi * np.arcsin(r / 2)).mean()) for r in rs]
            for rs in (linear, [np.sqrt(target / measured)])
        )
        return lds, ceiling[0]

    def draw(
        self, rng: np.random.Generator, n_subsets: int, n_query: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return predictions (methods, m, q), targets (m, r, q) and expected targets (m, q)."""
        target, _, seed = self._loadings(rng, n_query)
        expected = rng.standard_normal((n_subsets, self.factors)) @ target.T
        errors = [
            rng.standard_normal((n_subsets, self.factors)) @ self._loadings(rng, n_query)[1].T
            for _ in self.follow
        ]
        predicted = np.stack(
            [follow * expected + error for follow, error in zip(self.follow, errors, strict=True)]
        )
        shocks = rng.standard_normal((n_subsets, self.n_seeds, self.factors)) @ seed.T
        return predicted, expected[:, None] + self.noise * shocks, expected

    def _loadings(self, rng: np.random.Generator, n_query: int) -> list[np.ndarray]:
        common = np.eye(self.factors)[0]
        return [
            0.7 * rng.standard_normal((n_query, self.factors)) + strength * common
            for strength in (1.0, 0.5, 1.0)
        ]

"""A world of additive targets in which every retraining is known, and slow versions of metrics that retrain."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from proponent.metrics.metric_inputs import DerivedRetrainings


class AdditiveWorld:
    """Targets that are an offset per seed and query plus the sum of the effects of the kept examples.

    Args:
        n_train: number of examples.
        n_query: number of queries.
        n_seeds: number of seeds, each of which shifts all targets of a query.
        seed: seed of effects and offsets.
    """

    def __init__(self, n_train: int = 40, n_query: int = 12, n_seeds: int = 3, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.effects = rng.standard_normal((n_query, n_train))
        self.offsets = 2 + 0.3 * rng.standard_normal((n_seeds, n_query)) - self.effects.sum(axis=1)

    def target(self, mask: np.ndarray, seed: int, query: int) -> float:
        """Return the target of a query after training on a mask with a seed."""
        return float(self.offsets[seed, query] + self.effects[query, mask].sum())

    def retrainings(
        self, masks: np.ndarray, rows: Mapping[str, np.ndarray], has_classes: bool = True
    ) -> DerivedRetrainings:
        """Return the retrainings on some masks; a query is predicted correctly if its target is positive."""
        n_seeds, n_query = self.offsets.shape
        targets = np.array(
            [[[self.target(mask, r, q) for q in range(n_query)] for r in range(n_seeds)] for mask in masks]
        )
        return DerivedRetrainings(masks, targets, rows, targets > 0 if has_classes else None)


def removal_of(orders: np.ndarray, sizes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return masks without the first examples of each order, and their rows (n_orders, n_sizes)."""
    masks = []
    for order in orders:
        for size in sizes:
            mask = np.ones(len(order), dtype=bool)
            mask[order[:size]] = False
            masks.append(mask)
    return np.array(masks), np.arange(len(masks)).reshape(len(orders), len(sizes))


def drop_and_flips(
    world: AdditiveWorld, orders: np.ndarray, sizes: list[int]
) -> tuple[list[float], list[float]]:
    """Return the mean drop and the mean share of flips per size, one query and one seed after the other."""
    n_seeds, n_query = world.offsets.shape
    full = np.ones(world.effects.shape[1], dtype=bool)
    drops, flips = [], []
    for size in sizes:
        drop, flip = [], []
        for q in range(n_query):
            mask = full.copy()
            mask[orders[q][:size]] = False
            before = [world.target(full, r, q) for r in range(n_seeds)]
            after = [world.target(mask, r, q) for r in range(n_seeds)]
            drop.append(np.mean(before) - np.mean(after))
            right = [r for r in range(n_seeds) if before[r] > 0]
            if right:
                flip.append(np.mean([after[r] <= 0 for r in right]))
        drops.append(float(np.mean(drop)))
        flips.append(float(np.mean(flip)))
    return drops, flips

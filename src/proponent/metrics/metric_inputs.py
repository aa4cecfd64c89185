"""Inputs of metrics, and the checks made before any arithmetic.

A metric is a module with two names. ``NEEDS`` is a tuple of text literals that is read from the source at parse time:
``"ground_truth/<design>"`` or ``"noisy_labels"``. ``evaluate(inputs, *, <parameters>) -> dict[str, Estimate]`` takes its
parameters from ``configs/metrics/<name>.yaml`` and returns one entry per metric of the leaderboard. An optional third
name, ``MAY_USE``, lists inputs that the metric uses if the setting has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from proponent.errors import UserError
from proponent.metrics.estimate import Array

MIN_UNITS = 3
"""Fewest masks or left-out examples between which a rank correlation says anything."""


@dataclass(frozen=True)
class Retrainings:
    """Ground truth of one design, for the queries on which metrics are reported."""

    masks: NDArray[np.bool_]
    """(n_subsets, n_train), True = kept."""
    targets: NDArray[np.floating]
    """(n_subsets, n_seeds, n_query); NaN where a retraining diverged."""


@dataclass(frozen=True)
class MetricInputs:
    """Results of one method on one setting, with the ground truth of that setting."""

    scores: NDArray[np.floating]
    """(n_query, n_train); positive = the example raises the query's target."""
    self_influence: NDArray[np.floating] | None = None
    """(n_train,); large = suspicious; None if the method does not define it."""
    groups: Callable[[NDArray[np.bool_]], Array] | None = None
    """Prediction for groups, from masks (m, n_train) to (m, n_query); None if it is the sum of the kept examples' scores."""
    ground_truth: Mapping[str, Retrainings] = field(default_factory=dict)
    """Retrainings by name of the design."""
    noisy_labels: NDArray[np.bool_] | None = None
    """(n_train,), True = the label was corrupted. Methods never see it."""


@dataclass(frozen=True)
class Usable:
    """Retrainings without the diverged ones; a (subset, seed) is left out whole, for all queries."""

    subsets: NDArray[np.intp]
    """(m,) which subsets have at least one seed left."""
    mean: Array
    """(m, n_query) target averaged over the seeds left."""
    complete: Array
    """(m_complete, n_seeds, n_query) targets of the subsets with all seeds."""
    complete_rows: NDArray[np.intp]
    """(m_complete,) their positions among the m."""
    diverged: list[list[int]]
    """[subset, seed] of what was left out."""


def check_scores(scores: NDArray[np.floating], n_query: int, n_train: int, name: str = "scores") -> None:
    """Raise unless ``scores`` is a finite (n_query, n_train) matrix.

    Raises:
        UserError: names the expected and found shapes, or how many values are not finite and the first of
            them.
    """
    if scores.shape != (n_query, n_train):
        raise UserError(
            f"{name}: expected shape (n_query, n_train) = ({n_query}, {n_train}), found {tuple(scores.shape)}"
        )
    bad = ~np.isfinite(scores)
    if bad.any():
        query, example = np.argwhere(bad)[0]
        raise UserError(
            f"{name}: {bad.sum()} of {bad.size} values are NaN or infinite, "
            f"the first at query {query}, example {example}"
        )


def usable_retrainings(targets: NDArray[np.floating], design: str) -> Usable:
    """Leave out every retraining with a target that is not finite, and say which.

    Args:
        targets: (n_subsets, n_seeds, n_query)
        design: name of the design, for the error message.

    Raises:
        UserError: fewer than three subsets, or fewer than half of them, have a retraining left.
    """
    alive = np.isfinite(targets).all(axis=2)
    subsets = np.flatnonzero(alive.any(axis=1))
    needed = max(MIN_UNITS, -(-len(targets) // 2))
    if len(subsets) < needed:
        raise UserError(
            f"ground truth '{design}': {len(subsets)} of {len(targets)} retrained subsets are usable, "
            f"at least {needed} are needed ({(~alive).sum()} of {alive.size} retrainings diverged): "
            "raise the design's count or lower the recipe's lr"
        )
    weight = alive[subsets].astype(np.float64)
    filled = np.where(alive[subsets, :, None], targets[subsets], 0.0).astype(np.float64)
    mean = np.einsum("mr,mrq->mq", weight / weight.sum(axis=1, keepdims=True), filled)
    complete_rows = np.flatnonzero(alive[subsets].all(axis=1))
    return Usable(
        subsets=subsets,
        mean=mean,
        complete=filled[complete_rows],
        complete_rows=complete_rows,
        diverged=np.argwhere(~alive).tolist(),
    )

"""Ground truth without the retrainings that diverged: used by tuning, by methods that learn from it, and by metrics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proponent.errors import UserError
from proponent.metrics.estimate import Array

MIN_UNITS = 3
"""Fewest masks or left-out examples for which a rank correlation is meaningful."""


@dataclass(frozen=True)
class Usable:
    """Retrainings without those that diverged; a (subset, seed) is left out whole, for all queries."""

    subsets: NDArray[np.intp]
    """(m,) indices of the subsets with at least one seed left."""
    mean: Array
    """(m, n_query) targets averaged over the seeds left."""
    complete: Array
    """(m_complete, n_seeds, n_query) targets of the subsets with all seeds."""
    complete_rows: NDArray[np.intp]
    """(m_complete,) positions of these subsets among the m."""
    diverged: list[list[int]]
    """[subset, seed] of each retraining that was left out."""


def usable_retrainings(targets: NDArray[np.floating], design: str) -> Usable:
    """Leave out every retraining with a target that is not finite, and record which.

    Args:
        targets: (n_subsets, n_seeds, n_query), NaN or infinite where a retraining diverged.
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

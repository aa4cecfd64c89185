"""Times at which models are saved along training."""

from __future__ import annotations


def checkpoint_steps(total: int, count: int) -> list[int]:
    """Return the numbers of optimiser steps after which to save a checkpoint, ascending, without the final one.

    Each is about twice as large as the one before, and the last is half of training (total / 2, / 4, …): a model
    learns most of what it learns early, and attribution is often best there.

    Args:
        total: number of optimiser steps of the whole training.
        count: largest number of checkpoints; a short training has fewer, since all are distinct and at least 1.
    """
    return sorted(
        {round(total / 2**halvings) for halvings in range(1, count + 1) if total >= 2**halvings} - {total}
    )

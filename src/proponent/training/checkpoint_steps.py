"""When models are saved along training."""

from __future__ import annotations


def checkpoint_steps(total: int, count: int) -> list[int]:
    """Return after which optimiser steps to save a checkpoint, ascending; the final step is not among them.

    Each is about twice as late as the one before, and the last is at half of training (total / 2, / 4, …):
    most of what a model learns it learns early, and attribution is often at its best there.

    Args:
        total: number of optimiser steps of the whole training.
        count: how many are wanted; a short training gives fewer, since all are distinct and at least 1.
    """
    return sorted(
        {round(total / 2**halvings) for halvings in range(1, count + 1) if total >= 2**halvings} - {total}
    )

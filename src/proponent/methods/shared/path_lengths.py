"""Length of the training path that each saved checkpoint stands for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def path_lengths(durations: Sequence[float]) -> list[float]:
    """Return the length of training between each checkpoint and the one before.

    Args:
        durations: length of training up to each checkpoint, increasing.
    """
    return [duration - before for before, duration in pairwise([0.0, *durations])]

"""Length of the training path that each saved checkpoint stands for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

_ROUNDING = 1 + 1e-6
"""Tolerance for the rounding of sums of learning rates."""


def path_lengths(durations: Sequence[float], until: float) -> list[float]:
    """Return the length of training between each checkpoint and the one before.

    Args:
        durations: length of training up to each checkpoint, increasing.
        until: fraction of the path; checkpoints after it have no entry, except for the first checkpoint.
    """
    end = until * durations[-1] * _ROUNDING
    counted = [duration for at, duration in enumerate(durations) if at == 0 or duration <= end]
    return [duration - before for before, duration in pairwise([0.0, *counted])]

"""Corrupted labels, for metrics that ask a method to find them again."""

from __future__ import annotations

import torch
from torch import Tensor

from proponent.errors import UserError


def flip_labels(y: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Move the labels of a random share of the examples, each uniformly to another class.

    Args:
        y: (n,) integer labels; the classes are 0 … ``y.max()``.
        fraction: share of the examples that are moved, rounded to the nearest number of examples.
        seed: decides which, and where to.

    Returns:
        The new labels (n,), and the mask of moved ones (n,) bool.

    Raises:
        UserError: the labels are no classes, or there is no other class to move to.
    """
    if y.ndim != 1 or y.is_floating_point():
        raise UserError(
            "label_noise needs one integer label an example, so 'task: classification'; leave it out"
        )
    n_classes = int(y.max()) + 1
    if n_classes < 2:
        raise UserError("label_noise needs two classes or more; leave it out")
    generator = torch.Generator().manual_seed(seed)
    moved = torch.randperm(len(y), generator=generator)[: round(fraction * len(y))]
    # A shift by 1 … n_classes - 1 reaches every other class with equal probability, and never the same one.
    shift = torch.randint(1, n_classes, (len(moved),), generator=generator)
    noisy = y.clone()
    noisy[moved] = (y[moved] + shift) % n_classes
    mask = torch.zeros(len(y), dtype=torch.bool)
    mask[moved] = True
    return noisy, mask

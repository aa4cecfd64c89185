"""Corrupted labels, for metrics that measure how well a method finds them."""

from __future__ import annotations

import torch
from torch import Tensor

from proponent.errors import UserError


def flip_labels(y: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Change the labels of a random share of the examples, each uniformly to another class that occurs in ``y``.

    Args:
        y: (n,) integer labels.
        fraction: share of the labels that are changed, rounded to the nearest number of examples.
        seed: seed of the choice of examples and of their new classes.

    Returns:
        The new labels (n,), and the mask of the changed ones (n,) bool.

    Raises:
        UserError: labels are not integers, one per example, or only one class occurs.
    """
    if y.ndim != 1 or y.is_floating_point():
        raise UserError(
            "label_noise needs one integer label per example, as in 'task: classification'; leave label_noise out"
        )
    classes, indices = y.unique(return_inverse=True)
    if len(classes) < 2:
        raise UserError("label_noise needs at least two classes; leave label_noise out")
    generator = torch.Generator().manual_seed(seed)
    moved = torch.randperm(len(y), generator=generator)[: round(fraction * len(y))]
    # A shift by 1 … len(classes) - 1 reaches every other class with equal probability, and never the same one.
    shift = torch.randint(1, len(classes), (len(moved),), generator=generator)
    noisy = y.clone()
    noisy[moved] = classes[(indices[moved] + shift) % len(classes)]
    mask = torch.zeros(len(y), dtype=torch.bool)
    mask[moved] = True
    return noisy, mask

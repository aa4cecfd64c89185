"""Inverse of the damped curvature in a Kronecker eigenbasis, where it is diagonal."""

from __future__ import annotations

import torch
from torch import Tensor

from proponent.methods.shared.needs import Curvature, KroneckerBasis, RotatedGradients
from proponent.methods.shared.resolution import SMALLEST_SQUARE, DampingUnit, check_finite, rounding, vanished


def damped_inverse(
    model: Curvature, basis: KroneckerBasis, train: RotatedGradients, eigenvalues: str, damping: float
) -> Tensor:
    """Return 1 / (L + lambda) for every coordinate, and 0 in layers that have neither gradients nor curvature.

    Args:
        model: network at the checkpoint, with its weight decay.
        basis: eigenbasis of its curvature.
        train: rotated gradients of the training examples.
        eigenvalues: L: ``corrected``, the exact diagonal, or ``product``, of the factors' eigenvalues.
        damping: lambda, in units of the mean L of each layer, in addition to the weight decay.

    Raises:
        UserError: L + lambda of a layer is zero, or singular up to rounding.
    """
    values = basis.eigenvalues if eigenvalues == "corrected" else basis.factored
    check_finite(values)
    inverse = torch.zeros_like(values)
    for span in basis.spans:
        own = values[span]
        mean, largest = own.mean(), own.max().item()
        damped = own + (model.weight_decay + damping * mean)
        if max(largest, model.weight_decay) > SMALLEST_SQUARE:
            least = rounding(own) * largest
            if damped.min() <= least:
                unit = DampingUnit(mean.item(), model.weight_decay)
                raise unit.too_small(unit.absolute(damping), 2 * least)
            inverse[span] = 1 / damped
        elif _squares(train, span, values).any():
            raise vanished("the curvature of a layer")
    return inverse


def _squares(train: RotatedGradients, span: slice, like: Tensor) -> Tensor:
    """Return the squared lengths of the gradients of one layer, (n_train,)."""
    chosen = torch.zeros_like(like)
    chosen[span] = 1.0
    return train.squares_inner(chosen[None])[:, 0]

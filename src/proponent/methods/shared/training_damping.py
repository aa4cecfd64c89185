"""Damping in units of 1/E, E the length of training, in addition to the weight decay."""

from __future__ import annotations

from proponent.errors import UserError
from proponent.methods.shared.needs import Curvature
from proponent.methods.shared.resolution import DampingUnit


def training_damping(model: Curvature, damping: float) -> float:
    """Return lambda = weight_decay + damping / E, absolute.

    Raises:
        UserError: E is 0 at this checkpoint.
    """
    if not model.duration > 0:
        raise UserError("the learning rates up to this checkpoint add up to 0: use a later checkpoint")
    return model.weight_decay + damping / model.duration


def training_unit(model: Curvature, factor: float = 1.0) -> DampingUnit:
    """Return the unit in which lambda, times ``factor``, is given as a damping."""
    return DampingUnit(factor / model.duration, factor * model.weight_decay)

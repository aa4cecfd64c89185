"""Targets of retrainings without those that are the same after all of them."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from proponent.methods.shared.resolution import spread_is_rounding
from proponent.notes import Note

_CLIP = 10.0
"""Largest absolute value of a standardised target; larger ones are clipped."""


def varying_targets(targets: Tensor) -> Tensor:
    """Return targets (m, n_query), with zeros for queries whose targets differ by the rounding of float32 alone.

    Otherwise these differences would be explained, after division by their spread. A note counts such queries.
    """
    constant = spread_is_rounding(targets, 0)
    if not constant.any():
        return targets
    warnings.warn(
        f"the targets of {int(constant.sum())} of {targets.shape[1]} queries are the same after every retraining",
        Note,
        stacklevel=2,
    )
    return torch.where(constant, torch.zeros_like(targets), targets)


def standardised_targets(targets: Tensor) -> Tensor:
    """Return targets (m, n_query) with mean 0 and standard deviation 1 per query, clipped at 10, as AirRep compares them.

    Queries whose targets do not vary are 0 (:func:`varying_targets`).
    """
    values = varying_targets(targets)
    spread = values.std(0).clamp_min(torch.finfo(values.dtype).tiny)
    return ((values - values.mean(0)) / spread).clamp(-_CLIP, _CLIP)

"""Targets of retrainings without those that are the same after all of them."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from proponent.methods.shared.resolution import spread_is_rounding
from proponent.notes import Note


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

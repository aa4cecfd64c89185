"""Bias of a last layer as one more weight."""

from __future__ import annotations

from torch import Tensor, cat


def append_bias_column(representations: Tensor) -> Tensor:
    """Return ``representations`` (n, d) with a column of ones, (n, d + 1)."""
    return cat([representations, representations.new_ones(len(representations), 1)], dim=1)

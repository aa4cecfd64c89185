"""Limits below which a number is rounding, and a method refuses or returns 0 instead of dividing by it.

A matrix of inner products is known up to ``eps`` times its largest entries. A solve with a damping below that would
return the rounding errors, multiplied by up to 1e37, so it is refused with the smallest damping that works.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from proponent.errors import UserError

_ERRORS = 20
"""Rounding errors of one entry by which a result of many operations may be off."""
SMALLEST_SQUARE = torch.finfo(torch.float32).tiny / torch.finfo(torch.float32).eps
"""Smallest square with all its digits in float32, 1e-31; gradients that are shorter than its root are rounding."""
SATURATED = 1e-12
"""Loss weight below which training no longer moves a float32 model: gradients of such losses are not divided by."""


def rounding(like: Tensor) -> float:
    """Return the relative error that a sum of products of this type may have."""
    return _ERRORS * torch.finfo(like.dtype).eps


def spread_is_rounding(values: Tensor, dim: int) -> Tensor:
    """Return whether ``values`` differ along ``dim`` by no more than the rounding of float32, in which they are stored."""
    eps = _ERRORS * torch.finfo(torch.float32).eps
    return values.amax(dim) - values.amin(dim) <= eps * values.abs().amax(dim)


def over_lengths(values: Tensor, squares: Tensor) -> Tensor:
    """Return ``values / sqrt(squares)``, and 0 where ``squares`` are 0 or have lost their digits."""
    resolved = squares > SMALLEST_SQUARE
    return torch.where(resolved, values / torch.where(resolved, squares, 1.0).sqrt(), 0.0)


def cosines(inner: Tensor, query: Tensor, train: Tensor) -> Tensor:
    """Return cosines (n_query, n_train), 0 for vectors whose length is 0 or has lost its digits.

    Args:
        inner: inner products, (n_query, n_train).
        query: squared lengths, (n_query,).
        train: squared lengths, (n_train,).
    """
    check_finite(query, train)
    resolved = (query > SMALLEST_SQUARE)[:, None] & (train > SMALLEST_SQUARE)
    return torch.where(
        resolved, inner / torch.where(resolved, query.sqrt()[:, None] * train.sqrt(), 1.0), 0.0
    )


def unit_rows(rows: Tensor) -> Tensor:
    """Return the rows divided by their lengths; rows that are 0, or have lost their digits, become 0.

    A power of two is taken out first, which rounds nothing, because the squares of small rows would vanish.

    Raises:
        UserError: an entry is NaN or infinite.
    """
    largest = rows.abs().amax(1, keepdim=True)
    check_finite(largest)
    resolved = largest > SMALLEST_SQUARE
    scaled = torch.ldexp(rows, -torch.where(resolved, largest, 1.0).frexp().exponent)
    return torch.where(resolved, scaled / torch.where(resolved, scaled.norm(dim=1, keepdim=True), 1.0), 0.0)


def check_finite(*values: Tensor) -> None:
    """Raise :func:`overflow` if an entry is NaN or infinite."""
    if not all(bool(own.isfinite().all()) for own in values):
        raise overflow()


def overflow() -> UserError:
    """Return the error for values, or products of them, that are NaN or infinite."""
    return UserError(
        "gradients or representations overflow: give the model inputs or targets of a smaller scale, or use an earlier "
        "checkpoint"
    )


def vanished(what: str) -> UserError:
    """Return the error for ``what`` (singular) that is zero at a checkpoint and would be divided by."""
    return UserError(
        f"{what} is zero up to rounding at this checkpoint (dead units, or a saturated model): use an earlier checkpoint"
    )


@dataclass(frozen=True)
class DampingUnit:
    """The unit of a method's hyper-parameter ``damping``, in which a refusal names dampings."""

    size: float = 1.0
    """Absolute size of a damping of 1."""
    offset: float = 0.0
    """Weight decay, absolute, which is added to every damping."""

    def absolute(self, damping: float) -> float:
        """Return ``damping`` in absolute units."""
        return self.offset + damping * self.size

    def too_small(self, absolute: float, least: float) -> UserError:
        """Return the error for an absolute damping that rounding outweighs.

        Args:
            absolute: refused damping.
            least: smallest damping that works, absolute.
        """
        given, needed = (absolute - self.offset) / self.size, (least - self.offset) / self.size
        return UserError(
            f"damping {given:.3g} leaves a matrix that is singular up to rounding: use a damping of at least "
            f"{_rounded_up(needed)}"
        )


ABSOLUTE = DampingUnit()
"""Unit of dampings that are absolute."""


def _rounded_up(value: float) -> str:
    """Return a number above ``value`` with two digits."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return f"{(math.floor(value / step) + 1) * step:.2g}"

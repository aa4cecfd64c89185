"""How the scores of several members become one."""

from __future__ import annotations

import torch
from torch import Tensor


class MemberMean:
    """Running mean over members of what ``attribute`` or ``self_influence`` returned.

    A tuple of factors has each averaged separately, and the product of the means is the score (TRAK, section
    3). With ``normalised`` the product of each member is divided by its standard deviation over the training
    examples, per query, before averaging: one member that has not memorised what the others have does not
    outweigh them.

    Args:
        normalised: give each member the same weight.
    """

    def __init__(self, *, normalised: bool = False) -> None:
        self.normalised = normalised
        self.count = 0
        self._sums: list[Tensor] = []

    def add(self, result: Tensor | tuple[Tensor, ...]) -> None:
        """Add one member's result."""
        factors = list(result) if isinstance(result, tuple) else [result]
        if self.normalised:
            product = _product(factors)
            spread = product.std(dim=-1, keepdim=True)
            factors = [product / spread.clamp_min(torch.finfo(product.dtype).tiny)]
        self._sums = (
            [total + new for total, new in zip(self._sums, factors, strict=True)] if self._sums else factors
        )
        self.count += 1

    def scores(self) -> Tensor:
        """Return the combined scores of the members added so far."""
        return _product([total / self.count for total in self._sums])


def _product(factors: list[Tensor]) -> Tensor:
    product = factors[0]
    for factor in factors[1:]:
        product = product * factor
    return product

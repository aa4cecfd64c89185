"""How the scores of several members become one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

Result = Tensor | tuple[Tensor, ...] | Mapping[str, Tensor]
"""What ``attribute`` may return; a mapping has ``scores`` and whatever else the method has to say."""


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
        self._beside: dict[str, Tensor] = {}

    def add(self, result: Result) -> None:
        """Add one member's result."""
        if isinstance(result, Mapping):
            self._add_beside(result)
            result = result["scores"]
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

    def beside(self) -> dict[str, Tensor]:
        """Return what members said beside the scores: the mean of each figure, and a single member's tensors."""
        return {
            name: total / self.count if total.ndim == 0 else total for name, total in self._beside.items()
        }

    def _add_beside(self, result: Mapping[str, Tensor]) -> None:
        more = {name: tensor for name, tensor in result.items() if name != "scores"}
        if self.count == 0:
            self._beside = more
            return
        figures = {name: tensor for name, tensor in more.items() if tensor.ndim == 0}
        self._beside = {name: self._beside[name] + figure for name, figure in figures.items()}


def _product(factors: list[Tensor]) -> Tensor:
    product = factors[0]
    for factor in factors[1:]:
        product = product * factor
    return product

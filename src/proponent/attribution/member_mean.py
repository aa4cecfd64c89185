"""Averages of one method's results over the members of the ensemble."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Union

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Values = Union["Tensor", NDArray[Any]]
"""A torch tensor; for a method that works on NumPy arrays (``ARRAYS = "numpy"``), an array."""
_ROUNDING = 20 * float(np.finfo(np.float32).eps)
"""Spread of scores, relative to the largest, that rounding explains."""
Result = Values | tuple[Values, ...] | Mapping[str, Values]
"""What ``attribute`` may return; a mapping has ``scores`` and the method's further results by name."""


class MemberMean:
    """Running mean over members of the results of ``attribute`` or ``self_influence``.

    A tuple of factors has each averaged separately, and the product of the means is the score (TRAK, section
    3). With ``normalised`` the product of each member is divided by its standard deviation over the training
    examples, per query, before averaging, so that a member with large scores does not outweigh the others.

    Args:
        normalised: give each member the same weight.
    """

    def __init__(self, *, normalised: bool = False) -> None:
        self.normalised = normalised
        self.count = 0
        self._sums: list[Any] = []
        self._extras: dict[str, Any] = {}

    def add(self, result: Result) -> None:
        """Add one member's result."""
        if isinstance(result, Mapping):
            self._add_extras(result)
            result = result["scores"]
        factors = list(result) if isinstance(result, tuple) else [result]
        if self.normalised:
            factors = [_normalised(_product(factors))]
        self._sums = (
            [total + new for total, new in zip(self._sums, factors, strict=True)] if self._sums else factors
        )
        self.count += 1

    def scores(self) -> Any:
        """Return the combined scores of the members added so far."""
        return _product([total / self.count for total in self._sums])

    def extras(self) -> dict[str, Any]:
        """Return the further results: the mean of each scalar; other tensors only while there is a single member."""
        return {
            name: total / self.count if total.ndim == 0 else total for name, total in self._extras.items()
        }

    def _add_extras(self, result: Mapping[str, Values]) -> None:
        extras = {name: values for name, values in result.items() if name != "scores"}
        if self.count == 0:
            self._extras = extras
            return
        scalars = {name: values for name, values in extras.items() if values.ndim == 0}
        self._extras = {name: self._extras[name] + scalar for name, scalar in scalars.items()}


def _product(factors: list[Any]) -> Any:
    product = factors[0]
    for factor in factors[1:]:
        product = product * factor
    return product


def _normalised(product: Any) -> Any:
    """Return scores (n_query, n_train) divided by their standard deviation; 0 where it consists of rounding errors."""
    if isinstance(product, np.ndarray):
        spread = product.std(axis=-1, ddof=1, keepdims=True)
        resolved = spread > _ROUNDING * np.abs(product).max(axis=-1, keepdims=True)
        return np.where(resolved, product / np.where(resolved, spread, 1.0), 0.0)
    import torch

    spread = product.std(dim=-1, keepdim=True)
    resolved = spread > _ROUNDING * product.abs().amax(dim=-1, keepdim=True)
    return torch.where(resolved, product / torch.where(resolved, spread, 1.0), 0.0)

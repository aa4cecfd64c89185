"""Bisection for the smallest number of examples whose removal flips a query, for many queries at the same time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Search:
    """Bounds of the smallest size, per query.

    Attributes:
        low: (n,) largest size that is known not to flip the query; 0 at the start.
        high: (n,) smallest size that is known to flip it; 0 if none is known.
        largest: largest size that is tried.
    """

    low: Tensor
    high: Tensor
    largest: int

    @classmethod
    def start(cls, n: int, largest: int) -> Search:
        """Return the search for ``n`` queries, before the first round."""
        return cls(torch.zeros(n, dtype=torch.int64), torch.zeros(n, dtype=torch.int64), largest)

    def sizes(self) -> Tensor:
        """Return the size to try next per query, (n,), 0 where nothing is left to try.

        The largest size comes first, then the geometric mean of the bounds: the first bits of a size matter most.
        """
        found = []
        for low, high in zip(self.low.tolist(), self.high.tolist(), strict=True):
            if high == 0:
                found.append(self.largest if low == 0 else 0)
            elif high - low <= 1:
                found.append(0)
            else:
                middle = round(math.sqrt(max(low, 1) * high))
                found.append(min(max(middle, low + 1), high - 1))
        return torch.tensor(found, dtype=torch.int64)

    def after(self, sizes: Tensor, flipped: Tensor) -> Search:
        """Return the search after trying ``sizes`` (n,), of which ``flipped`` (n,) changed the prediction."""
        tried = sizes > 0
        high = torch.where(tried & flipped, sizes, self.high)
        low = torch.where(tried & ~flipped, sizes, self.low)
        return Search(low, high, self.largest)

"""The memory budget of a job: how much of something fits, or a refusal that names the memory needed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from proponent.errors import UserError

MIB = 2**20


@dataclass(frozen=True)
class MemoryBudget:
    """Memory for tensors, in addition to the data and the libraries.

    Attributes:
        total_mib: ``compute.memory_mib``, in MiB.
        held_mib: memory that is taken from the start to the end, in MiB.
    """

    total_mib: float
    held_mib: float = 0.0

    @property
    def left_mib(self) -> float:
        """Memory that is not taken, in MiB."""
        return self.total_mib - self.held_mib

    def holding(self, mib: float) -> MemoryBudget:
        """Return the budget when further ``mib`` are taken from the start to the end."""
        return MemoryBudget(self.total_mib, self.held_mib + mib)

    def largest(self, need: Callable[[int], float], most: int, what: str) -> int:
        """Return the largest number of items, at most ``most``, whose memory fits.

        Args:
            need: function from a number of items to memory in MiB; it grows with the number.
            most: number of items that are wanted, at least 1.
            what: name of the method or engine, the beginning of a refusal.

        Raises:
            UserError: not even one item fits.
        """
        if self._fits(need(most)):
            return most
        self.require(need(1), what)
        fits, too_many = 1, most
        while too_many - fits > 1:
            middle = (fits + too_many) // 2
            fits, too_many = (middle, too_many) if self._fits(need(middle)) else (fits, middle)
        return fits

    def require(self, mib: float, what: str) -> None:
        """Refuse what does not fit.

        Raises:
            UserError: ``mib`` exceed what is left of the budget.
        """
        if not self._fits(mib):
            needed = math.ceil(self.held_mib + mib)
            raise UserError(
                f"{what} needs {needed} MiB of memory and compute.memory_mib is {self.total_mib:.0f}: "
                f"raise it to {needed}, or leave the method out"
            )

    def _fits(self, mib: float) -> bool:
        return self.held_mib + mib <= self.total_mib


@dataclass(frozen=True)
class PlannedMemory:
    """Memory of a method's tensors, before it runs.

    Attributes:
        least_mib: memory for one query at a time, in MiB.
        together_mib: memory for all queries at once, in MiB.
        budget_mib: ``compute.memory_mib``, in MiB.
    """

    least_mib: float
    together_mib: float
    budget_mib: float

    @property
    def fits(self) -> bool:
        """Whether the method can run."""
        return self.least_mib <= self.budget_mib

    @property
    def taken_mib(self) -> float:
        """Memory that the method takes, in MiB: for as many queries at a time as fit; for one, where not even one fits."""
        return max(self.least_mib, min(self.together_mib, self.budget_mib))

"""Dataclasses behind the designs of ground-truth retrainings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from proponent.config.ranges import check_positive


class DesignKind(Enum):
    """Ways to draw the subsets and seeds of ground-truth retrainings."""

    subsets = "subsets"
    subsets_fixed_seed = "subsets_fixed_seed"
    loo = "loo"
    fit = "fit"
    permutations = "permutations"
    complements = "complements"


@dataclass
class DesignConfig:
    """A design of ground-truth retrainings."""

    kind: DesignKind = DesignKind.subsets
    count: int = 100
    seeds: int = 2
    fraction: float = 0.5
    """Share of the training set that a subset keeps. The ``loo`` design leaves out one example each instead; a prefix of
    the ``permutations`` design is longer by this share than the one before. Complements are halves."""

    def __post_init__(self) -> None:
        check_positive("designs", count=self.count, seeds=self.seeds)
        if not 0 < self.fraction < 1:
            raise ValueError(f"designs: fraction must lie between 0 and 1, not {self.fraction}")
        if self.kind is DesignKind.permutations and self.fraction > 0.5:
            raise ValueError(f"designs: fraction of permutations must be at most 0.5, not {self.fraction}")
        if self.kind is DesignKind.complements and self.fraction != 0.5:
            raise ValueError(f"designs: fraction of complements must be 0.5, not {self.fraction}")


def n_prefixes(design: DesignConfig) -> int:
    """Return the number of prefixes per order of the ``permutations`` design; the last one keeps everything."""
    return round(1 / design.fraction)


def n_rows(design: DesignConfig) -> int:
    """Return the number of masks.

    ``count``; one more for ``loo``, whose first row keeps everything; all prefixes of ``count`` orders for ``permutations``;
    both halves of ``count`` pairs for ``complements``.
    """
    if design.kind is DesignKind.permutations:
        return design.count * n_prefixes(design)
    if design.kind is DesignKind.complements:
        return design.count * 2
    return design.count + (design.kind is DesignKind.loo)

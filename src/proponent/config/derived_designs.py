"""Designs whose masks are derived from scores or from the data: the key ``design`` of a metric that retrains.

A setting lists the designs of its ground truth; a metric brings its own, and its masks are known only when the scores are.
Their number is known before, so that ``proponent plan`` can state it and jobs can be divided.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from proponent.config.ranges import check_positive


class DerivedKind(Enum):
    """Ways to derive masks."""

    removal = "removal"
    """The examples with the largest scores for one query are left out, a growing share of them."""
    support = "support"
    """The same, a number that is searched by bisection until the prediction of the query changes."""
    coreset = "coreset"
    """The examples with the largest, or the smallest, mean score over tune queries are kept, a growing share of them."""
    suspects = "suspects"
    """The most suspicious examples are left out, a growing share of them."""
    groups = "groups"
    """One group of similar examples is left out."""
    fractions = "fractions"
    """Random subsets of several sizes are kept."""
    patch = "patch"
    """Nothing is left out: trained members take one optimiser step on the examples with the largest scores for one query."""

    @property
    def uses_scores(self) -> bool:
        """Whether methods have masks of their own, in addition to those that all of them share."""
        return self not in (DerivedKind.groups, DerivedKind.fractions)


class GroupBy(Enum):
    """What the examples of a group have in common."""

    classes = "classes"
    clusters = "clusters"
    """Clusters of the inputs, by k-means."""
    sources = "sources"
    """What the setting's file ``sources`` says of each example, or the classes that ``planted.subclass`` merged."""


CONTROLS = {
    DerivedKind.removal: 3,
    DerivedKind.support: 2,
    DerivedKind.coreset: 1,
    DerivedKind.suspects: 1,
    DerivedKind.patch: 3,
}
"""Orders of examples, per kind, with which the order by scores is compared."""


@dataclass
class DerivedDesignConfig:
    """The retrainings of a metric: one mask per combination of what the kind varies, each with ``seeds`` seeds."""

    kind: DerivedKind
    shares: list[float] = field(default_factory=list)
    """Shares of the training set, in (0, 1), that are removed (``removal``, ``suspects``, ``fractions``) or kept
    (``coreset``); for ``support``, the largest one that is removed."""
    seeds: int = 3
    """Seeds per mask; of a ``patch``, members of the ensemble, from the first one."""
    queries: int = 20
    """Number of test queries, from the first one, whose proponents are removed (``removal``, ``support``) or learned
    (``patch``)."""
    rounds: int = 6
    """Rounds of the bisection (``support``)."""
    count: int = 40
    """Largest number of groups (``groups``), random subsets per share (``fractions``), random orders (``coreset``,
    ``suspects``), examples per step (``patch``)."""
    by: GroupBy = GroupBy.clusters
    """What the examples of a group have in common (``groups``)."""
    balanced: bool = False
    """Whether every class keeps the same share of its examples (``coreset``)."""

    def __post_init__(self) -> None:
        sizes = {"queries": self.queries, "rounds": self.rounds, "count": self.count}
        check_positive("design", seeds=self.seeds, **sizes)
        if self.kind in (DerivedKind.groups, DerivedKind.patch):
            if self.shares:
                what = "leaves out whole groups" if self.kind is DerivedKind.groups else "leaves nothing out"
                raise ValueError(f"design: a design of kind {self.kind.value} {what}; leave 'shares' out")
        elif not self.shares or not all(0 < share < 1 for share in self.shares):
            raise ValueError(f"design: shares must be numbers between 0 and 1, not {self.shares}")
        if self.kind is DerivedKind.support and len(self.shares) != 1:
            raise ValueError(
                f"design: shares of a search must be one number, the largest share, not {self.shares}"
            )
        if self.shares != sorted(set(self.shares)):
            raise ValueError(f"design: shares must grow, not {self.shares}")

    @property
    def is_paired(self) -> bool:
        """Whether repeat r has the same seeds for every mask, so that seeds cancel in differences of targets."""
        return self.kind is not DerivedKind.fractions

    @property
    def by_weight(self) -> bool:
        """Whether left-out examples stay in their batches with weight 0; otherwise batches hold kept examples only."""
        return self.kind in (DerivedKind.removal, DerivedKind.support, DerivedKind.groups)

    @property
    def own_rows(self) -> int:
        """Largest number of masks that are derived from the scores of one method."""
        if self.kind is DerivedKind.removal:
            return self.queries * len(self.shares)
        if self.kind is DerivedKind.support:
            return self.queries * (1 + self.rounds)
        if self.kind is DerivedKind.patch:
            return self.queries
        if self.kind is DerivedKind.suspects:
            return len(self.shares)
        return 2 * len(self.shares) if self.kind is DerivedKind.coreset else 0

    @property
    def shared_rows(self) -> int:
        """Largest number of masks that all methods share: all examples, controls, groups or random subsets."""
        if self.kind in (DerivedKind.removal, DerivedKind.support, DerivedKind.patch):
            return 1 + CONTROLS[self.kind] * self.own_rows
        if self.kind in (DerivedKind.coreset, DerivedKind.suspects):
            return 1 + self.count * len(self.shares)
        return 1 + self.count if self.kind is DerivedKind.groups else self.count * len(self.shares)

    @property
    def own_retrainings(self) -> int:
        """Largest number of retrainings per method."""
        return self.own_rows * self.seeds

    @property
    def shared_retrainings(self) -> int:
        """Largest number of retrainings that all methods share."""
        return self.shared_rows * self.seeds


@dataclass
class BudgetConfig:
    """Limits of what a metric may cost."""

    retrainings: int = 500
    """Largest number of retrainings per method, per control and of a design that all methods share."""

    def __post_init__(self) -> None:
        check_positive("budget", retrainings=self.retrainings)


def refuse_above_budget(design: DerivedDesignConfig, budget: BudgetConfig) -> None:
    """Raise a ValueError if a design has more retrainings than its budget allows."""
    controls = (design.shared_retrainings - design.seeds) // CONTROLS.get(design.kind, 1)
    count = max(design.own_retrainings, controls)
    if count > budget.retrainings:
        raise ValueError(
            f"design: {count} retrainings are more than budget.retrainings ({budget.retrainings}); lower queries, shares, "
            "count or seeds, or raise the budget"
        )

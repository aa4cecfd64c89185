"""Needs of methods that learn from retrainings on subsets of the training set."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Retrainings(Protocol):
    """Targets of the queries after retraining on subsets of the ``fit`` design, never of a design that evaluates."""

    masks: Tensor
    """(m, n_train) bool, True = kept. Subsets on which every seed diverged are left out."""
    targets: Tensor
    """(m, n_query), averaged over the seeds that did not diverge."""


class Permutations(Protocol):
    """Targets of the queries while examples are added in random orders, of the ``permutations`` design."""

    masks: Tensor
    """(n_orders, n_prefixes, n_train) bool: nested subsets, of the same sizes in every order; the last keeps everything."""
    targets: Tensor
    """(n_orders, n_prefixes, n_query), averaged over seeds. Orders in which a retraining diverged are left out."""

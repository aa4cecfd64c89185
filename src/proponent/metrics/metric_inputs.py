"""Inputs of metrics, and the checks made before any arithmetic.

A metric is a module with two names. ``NEEDS`` is a tuple of text literals that is read from the source at parse time:
``"ground_truth/<design>"``, ``"noisy_labels"``, ``"labels"``, ``"planted/<change>"`` or ``"repeated/<what differs>"``.
``evaluate(inputs, *, <parameters>) -> dict[str, Estimate]`` takes its parameters from ``configs/metrics/<name>.yaml`` and
returns one entry per metric of the leaderboard. Two names are optional: ``MAY_USE`` lists inputs that the metric
uses if the setting has them, and ``DESIGN`` is the kind of the design that the YAML file of a metric that retrains must have
(:mod:`proponent.config.derived_designs`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proponent.errors import UserError
from proponent.metrics.estimate import Array


@dataclass(frozen=True)
class Retrainings:
    """Ground truth of one design, for the queries on which metrics are reported."""

    masks: NDArray[np.bool_]
    """(n_subsets, n_train), True = kept."""
    targets: NDArray[np.floating]
    """(n_subsets, n_seeds, n_query); NaN where a retraining diverged."""


@dataclass(frozen=True)
class DerivedRetrainings:
    """Retrainings on masks that a metric derived from scores or from the data, for the queries on which it is reported."""

    masks: NDArray[np.bool_]
    """(n_masks, n_train), True = kept; no two are equal."""
    targets: NDArray[np.floating]
    """(n_masks, n_seeds, n_query); NaN where a retraining diverged."""
    rows: Mapping[str, NDArray[np.integer]]
    """Rows of the masks by what they vary, such as ``scores`` (queries, shares); see :mod:`proponent.steps.derive_masks`."""
    correct: NDArray[np.bool_] | None = None
    """(n_masks, n_seeds, n_query), whether the query's label is predicted; None where queries do not have one class each."""


@dataclass(frozen=True)
class RemovalSearch:
    """Smallest numbers of examples whose removal flips a query, for several orders of removal."""

    smallest: NDArray[np.integer]
    """(n_orders,), 0 where no number up to the largest one flips the query."""
    predicted: NDArray[np.floating]
    """(n_orders,) share of seeds for which the query is predicted correctly after training on all examples."""
    rows: Mapping[str, NDArray[np.integer]]
    """Rows per order of removal, (n_query,) each: ``scores``, or the names of controls."""
    n_train: int


@dataclass(frozen=True)
class MetricInputs:
    """Results of one method on one setting, with the ground truth of that setting."""

    scores: NDArray[np.floating]
    """(n_query, n_train); positive = the example raises the query's target."""
    self_influence: NDArray[np.floating] | None = None
    """(n_train,); large = suspicious; None if the method does not define it."""
    groups: Callable[[NDArray[np.bool_]], Array] | None = None
    """Prediction for groups, from masks (m, n_train) to (m, n_query); None if it is the sum of the kept examples' scores."""
    ground_truth: Mapping[str, Retrainings] = field(default_factory=dict)
    """Retrainings by name of the design."""
    noisy_labels: NDArray[np.bool_] | None = None
    """(n_train,), True = the label was corrupted. Methods never see it."""
    derived: Mapping[str, DerivedRetrainings] = field(default_factory=dict)
    """For a metric that retrains: its retrainings on masks that all methods share (``shared``), and on masks from the scores
    of this method (``own``)."""
    searches: Mapping[str, RemovalSearch] = field(default_factory=dict)
    """For a metric that searches the smallest removal: controls (``shared``) and the order of the scores (``own``)."""
    labels: tuple[NDArray[Any], NDArray[Any]] | None = None
    """Classes of the training examples (n_train,) as the models saw them, and of the queries (n_query,)."""
    planted: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """Truth of a change of the data by name (:class:`proponent.settings.planted_truth.Planted`). Methods never see it."""
    repeated: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    """Scores (n_query, n_train) of the method for other models: ``members``, ``shuffled_weights`` or ``shuffled_labels``."""


def check_scores(scores: NDArray[np.floating], n_query: int, n_train: int, name: str = "scores") -> None:
    """Raise unless ``scores`` is a finite (n_query, n_train) matrix.

    Raises:
        UserError: names the expected and found shapes, or how many values are not finite and the first of
            them.
    """
    if scores.shape != (n_query, n_train):
        raise UserError(
            f"{name}: expected shape (n_query, n_train) = ({n_query}, {n_train}), found {tuple(scores.shape)}"
        )
    bad = ~np.isfinite(scores)
    if bad.any():
        query, example = np.argwhere(bad)[0]
        raise UserError(
            f"{name}: {bad.sum()} of {bad.size} values are NaN or infinite, "
            f"the first at query {query}, example {example}"
        )

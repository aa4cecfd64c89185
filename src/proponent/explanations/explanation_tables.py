"""Explanations as values with arrays of NumPy, which become frames of pandas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from proponent.explanations.feature_attribution import FeatureAttribution

if TYPE_CHECKING:
    import pandas

Indices = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Ranked:
    """Training examples in an order.

    Attributes:
        indices: (k,) indices of the examples.
        values: (k,) scores, or cosines of neighbours.
    """

    indices: Indices
    values: Floats

    def __len__(self) -> int:
        return len(self.indices)


@dataclass(frozen=True)
class Explanation:
    """Training examples that explain the prediction for one query.

    Attributes:
        query: number of the query among those that were given.
        label: class whose target is explained; None without classes.
        predicted: class that the models predict; None without classes.
        proponents: strongest proponents, with their scores.
        opponents: strongest opponents, with their scores.
        neighbours: examples with the most similar representations, with their cosines; None for a model without them.
        same_class: random examples of the query's class, as in TracIn's figures, with their scores; None without classes.
        shares: shares of the total absolute score.
        carried_by: number of examples that carry each of the shares.
        supported_by: number of examples with a score other than 0.
    """

    query: int
    label: int | None
    predicted: int | None
    proponents: Ranked
    opponents: Ranked
    neighbours: Ranked | None
    same_class: Ranked | None
    shares: tuple[float, ...]
    carried_by: tuple[int, ...]
    supported_by: int

    def parts(self) -> dict[str, Ranked]:
        """Return the lists of examples that there are, by their heading."""
        found = {
            "proponents": self.proponents,
            "opponents": self.opponents,
            "neighbours": self.neighbours,
            "same class": self.same_class,
        }
        return {name: ranked for name, ranked in found.items() if ranked is not None}

    def to_frame(self) -> pandas.DataFrame:
        """Return one row per example and list: ``query``, ``list``, ``rank``, ``example`` and ``value``."""
        import pandas

        rows = [
            {
                "query": self.query,
                "list": name,
                "rank": rank + 1,
                "example": int(index),
                "value": float(value),
            }
            for name, ranked in self.parts().items()
            for rank, (index, value) in enumerate(zip(ranked.indices, ranked.values, strict=True))
        ]
        return pandas.DataFrame(rows, columns=["query", "list", "rank", "example", "value"])


@dataclass(frozen=True)
class PairExplanation:
    """Features of a query and of a training example that make the score of the pair.

    Attributes:
        example: index of the training example.
        query: contributions of the features of the query, with the training example fixed.
        train: contributions of the features of the training example, with the query fixed.
    """

    example: int
    query: FeatureAttribution
    train: FeatureAttribution

    @property
    def score(self) -> float:
        """Score of the pair, in units of the method."""
        return self.query.score


@dataclass(frozen=True)
class Extremes:
    """Training examples with the largest and the smallest self-influence.

    Attributes:
        most: examples with the largest self-influence, the largest first; rare and wrong examples are among them.
        least: examples with the smallest self-influence, the smallest first.
        labels: (n_train,) labels; None where an example has several.
        predicted: (n_train,) classes that the models predict; None without classes.
    """

    most: Ranked
    least: Ranked
    labels: NDArray[Any] | None
    predicted: Indices | None

    def to_frame(self) -> pandas.DataFrame:
        """Return one row per example: ``list``, ``example``, ``self_influence``; ``label`` and ``predicted`` if known."""
        import pandas

        rows = []
        for name, ranked in (("most", self.most), ("least", self.least)):
            for index, value in zip(ranked.indices, ranked.values, strict=True):
                row: dict[str, Any] = {"list": name, "example": int(index), "self_influence": float(value)}
                for column, values in (("label", self.labels), ("predicted", self.predicted)):
                    if values is not None:
                        row[column] = values[index].item()
                rows.append(row)
        return pandas.DataFrame(rows)


@dataclass(frozen=True)
class SupportVectors:
    """Training examples that hold up DualDA's classifier; all other examples have the score 0 for every query.

    Attributes:
        indices: (m,) indices of the examples, those with the largest dual variable first.
        duals: (m, n_classes) dual variables.
        own: (m,) dual variable at the example's own label.
    """

    indices: Indices
    duals: Floats
    own: Floats

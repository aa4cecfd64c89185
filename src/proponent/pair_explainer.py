"""XDA from Python: the features of a query and of a training example that make the score of the pair."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.explained_models import ExplainedModels
from proponent.explanations.deletion_curves import (
    DeletionTest,
    area_under,
    compare_areas,
    deletion_curve,
    order_of,
)
from proponent.explanations.explanation_tables import PairExplanation
from proponent.explanations.feature_attribution import (
    MOST_STEPS,
    Algorithm,
    FeatureAttribution,
    attribute_features,
)
from proponent.trained.pair_score_builder import PairScoreBuilder, Side

Baseline = Literal["zeros", "mean"] | Tensor
"""Features that stand for no information: zeros, the mean of the training inputs, or a tensor."""


class PairExplainer:
    """Feature attribution of the pair scores of one attributor.

    Args:
        models: method, models and training set.
        inputs: name of the input whose features are attributed; None for the only one.
        baseline: features that stand for no information.
        most_steps: largest number of steps of integrated gradients.

    Raises:
        UserError: the pair score of the method is not differentiable in closed form.
    """

    def __init__(
        self,
        models: ExplainedModels,
        inputs: str | None = None,
        baseline: Baseline = "zeros",
        most_steps: int = MOST_STEPS,
    ) -> None:
        self._models, self._given, self._most_steps = models, baseline, most_steps
        self._builder = PairScoreBuilder(
            models.choice, models.members, models.problem, models.train_labels, inputs
        )

    def passes(self, per_side: int, per_example: int) -> int:
        """Return how many forward passes of one example a pair costs.

        Args:
            per_side: passes per side of a pair.
            per_example: passes per training example, where the direction of a side is a sum over the training set.
        """
        sums = self._builder.uses_training_set
        return 2 * per_side + (per_example * len(self._models.problem.x) if sums else 0)

    def explain(self, queries: Any, row: int, example: int, algorithm: Algorithm) -> PairExplanation:
        """Return the contributions of the features of both examples; arguments as in :meth:`.Explainer.features`."""
        x, y = self._models.rows(queries)
        n_train = len(self._models.problem.x)
        if not 0 <= example < n_train or not 0 <= row < len(x):
            raise UserError(
                f"there is no pair of query {row} and example {example}: there are {len(x)} queries and {n_train} examples"
            )
        pair = self._builder.pair(x[row : row + 1], y[row : row + 1], example)
        return PairExplanation(
            example, self._attributed(pair.query, algorithm), self._attributed(pair.train, algorithm)
        )

    def deletion(
        self, queries: Any, indices: Tensor, algorithm: Algorithm, random_orders: int, seed: int
    ) -> DeletionTest:
        """Compare deletion in the order of attributed features with random orders.

        Args:
            queries: queries with labels.
            indices: (n_query, k) training examples that form pairs with each query.
            algorithm: algorithm of captum.
            random_orders: random orders per side of a pair.
            seed: seed of the random orders and of the bootstrap.
        """
        x, y = self._models.rows(queries)
        draws = torch.Generator().manual_seed(seed)
        areas, random_areas = [], []
        for row, chosen in enumerate(indices.tolist()):
            for example in chosen:
                pair = self._builder.pair(x[row : row + 1], y[row : row + 1], example)
                for side in (pair.query, pair.train):
                    found = self._attributed(side, algorithm)
                    if found.score == found.baseline_score:
                        continue  # no feature changes the score
                    falling = found.score > found.baseline_score
                    areas.append(self._area(side, order_of(found.values, falling=falling)))
                    count = found.values.numel()
                    orders = [torch.randperm(count, generator=draws) for _ in range(random_orders)]
                    random_areas.append(float(np.mean([self._area(side, order) for order in orders])))
        if len(areas) < 2:
            raise UserError("the score of fewer than two pairs depends on the features; give more queries")
        return compare_areas(areas, random_areas, seed)

    def _area(self, side: Side, order: Tensor) -> float:
        curve = deletion_curve(side.score, side.features, self._baseline(side), order, embedded=side.embedded)
        return area_under(curve)

    def _attributed(self, side: Side, algorithm: Algorithm) -> FeatureAttribution:
        return attribute_features(
            side.score,
            side.features,
            self._baseline(side),
            algorithm,
            embedded=side.embedded,
            network=side.network,
            most_steps=self._most_steps,
        )

    def _baseline(self, side: Side) -> Tensor:
        """Return the features that stand for no information, (1, ...)."""
        given = self._given
        if isinstance(given, Tensor):
            if given.shape != side.features.shape[1:]:
                raise UserError(
                    f"baseline has the shape {tuple(given.shape)}; give the shape of one example's features, "
                    f"{tuple(side.features.shape[1:])}"
                )
            return given.to(side.features)[None]
        if given == "zeros":
            return torch.zeros_like(side.features)
        x = self._models.problem.x
        if side.embedded or not isinstance(x, Tensor):
            raise UserError("baseline 'mean' is for inputs that are one array of numbers; choose 'zeros'")
        return x.to(side.features.dtype).mean(0, keepdim=True)

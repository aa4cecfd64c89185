"""Explanations of predictions: why a model predicts what it does, from a method's scores down to features of examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from proponent.attributor import Attributor
from proponent.errors import UserError
from proponent.explained_models import ExplainedModels
from proponent.explanations.carried_score import SHARES, carrying_examples
from proponent.explanations.deletion_curves import DeletionTest
from proponent.explanations.example_clusters import Clusters, cluster_examples
from proponent.explanations.explained_scores import explain_scores
from proponent.explanations.explanation_tables import (
    Explanation,
    Extremes,
    PairExplanation,
    Ranked,
    SupportVectors,
)
from proponent.explanations.feature_attribution import Algorithm
from proponent.explanations.strongest_examples import Everywhere, proponents_everywhere
from proponent.methods.shared.resolution import cosines, unit_rows
from proponent.pair_explainer import Baseline, PairExplainer
from proponent.rows import Rows

_MATRICES = 5
"""Matrices (n, n) in float64 that clustering holds."""


class Explainer:
    """Explanations by the method and the models of an attributor.

    Args:
        attributor: a :class:`proponent.Attributor`, of models in memory or of ``proponent.open(folder).attributor(method)``.

    Examples:
        The second example is the strongest proponent of the query, the third one its opponent; one example carries half of
        the absolute score.

        >>> import proponent, torch
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = torch.nn.init.zeros_(model.weight)
        >>> train = torch.tensor([[1.0, 0.0], [2.0, 1.0], [1.0, 1.0]]), torch.tensor([0, 0, 1])
        >>> explainer = proponent.Explainer(proponent.Attributor("graddot", model, train))
        >>> (found,) = explainer.explain((torch.tensor([[1.0, 0.0]]), torch.tensor([0])))
        >>> found.proponents.indices.tolist(), found.opponents.indices.tolist(), found.carried_by
        ([1, 0], [2], (1, 3, 3))
    """

    def __init__(self, attributor: Attributor) -> None:
        self.attributor = attributor
        self.models = ExplainedModels(attributor)

    def labelled(self, x: Any, label: int | None = None) -> tuple[Any, Tensor]:
        """Return inputs without labels as queries, each with the class that the models predict.

        Args:
            x: (n, ...) inputs, in one of the forms of training inputs.
            label: class of all of them in place of the predicted one.

        Raises:
            UserError: the task has no classes, the method uses no model, or the inputs do not fit.
        """
        classes = self.models.classes
        if classes is None:
            raise UserError("a task without classes has no label to predict; give the labels of the queries")
        count = len(next(iter(x.values())) if isinstance(x, dict) else x[0] if isinstance(x, tuple) else x)
        y = torch.full((count,), int(classes[0]) if label is None else label)
        rows, _ = self.models.rows((x, y))
        if label is not None:
            return x, y
        predicted = self.models.predict(rows)
        if predicted is None:
            raise UserError(f"method '{self.models.choice.name}' uses no model to predict a label; give one")
        return x, torch.from_numpy(predicted)

    def explain(
        self, queries: Any, k: int = 10, *, shares: Sequence[float] = SHARES, seed: int = 0
    ) -> list[Explanation]:
        """Return the training examples that explain the prediction for each query.

        Args:
            queries: queries with labels, in one of the forms that :meth:`proponent.Attributor.attribute` takes.
            k: largest number of examples per list.
            shares: shares of the total absolute score of a query, for which the numbers of examples are counted.
            seed: seed of the random examples of the class.

        Raises:
            UserError: the queries do not fit the training examples, or the method fails.
        """
        x, y = self.models.rows(queries)
        return explain_scores(
            self.attributor.attribute(queries).numpy(),
            k,
            classes=self.models.classes,
            labels=None if self.models.classes is None else y.numpy(force=True),
            predicted=self.models.predict(x),
            representations=self._representations(x),
            shares=shares,
            seed=seed,
        )

    def features(
        self,
        queries: Any,
        example: int,
        algorithm: Algorithm = "integrated-gradients",
        *,
        row: int = 0,
        baseline: Baseline = "zeros",
        inputs: str | None = None,
    ) -> PairExplanation:
        """Return which features of a query and of a training example make the score of the pair (XDA).

        Args:
            queries: queries with labels.
            example: index of the training example.
            algorithm: algorithm of captum (:mod:`proponent.explanations.feature_attribution`).
            row: number of the query.
            baseline: features that stand for no information: zeros, the mean of the training inputs, or a tensor.
            inputs: name of the input whose features are attributed, where there are several.

        Raises:
            UserError: the pair score of the method is not differentiable in closed form, an argument is out of range, or
                captum is not installed.
        """
        return PairExplainer(self.models, inputs, baseline).explain(queries, row, example, algorithm)

    def deletion(
        self,
        queries: Any,
        k: int = 3,
        algorithm: Algorithm = "integrated-gradients",
        *,
        random_orders: int = 10,
        baseline: Baseline = "zeros",
        seed: int = 0,
    ) -> DeletionTest:
        """Compare deletion of the attributed features with deletion in random order, over pairs and both sides of each.

        Args:
            queries: queries with labels.
            k: proponents per query that form pairs with it.
            algorithm: algorithm of captum.
            random_orders: random orders per side of a pair.
            baseline: features that replace deleted ones.
            seed: seed of the random orders and of the bootstrap.

        Raises:
            UserError: as for :meth:`features`.
        """
        indices, _ = self.attributor.top(queries, k)
        explainer = PairExplainer(self.models, None, baseline)
        return explainer.deletion(queries, indices, algorithm, random_orders, seed)

    def clusters(
        self,
        count: int,
        *,
        by: Literal["gradients", "representations"] = "gradients",
        label: int | None = None,
        exemplars: int = 8,
        most: int | None = None,
        seed: int = 0,
    ) -> Clusters:
        """Divide training examples into clusters of similar gradients, or of similar representations, of the first model.

        Args:
            count: number of clusters.
            by: directions that are compared.
            label: class whose examples are divided; None for all examples.
            exemplars: largest number of typical examples per cluster.
            most: largest number of examples that are divided, drawn at random from more; None for all.
            seed: seed of the draw.

        Returns:
            Clusters whose ``labels`` belong to the divided examples, in their order in the training set, and whose
            ``exemplars`` are indices of training examples.

        Raises:
            UserError: ``count`` is out of range, there are no such examples, or the cosines exceed ``memory_mib``.
        """
        problem, classes = self.models.problem, self.models.classes
        if label is not None and classes is None:
            raise UserError("examples without class labels are divided all together; leave label out")
        rows = np.arange(len(problem.x)) if label is None else np.flatnonzero(classes == label)
        if most is not None and len(rows) > most:
            rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
        needed = _MATRICES * 8 * len(rows) ** 2 / 2**20
        if needed > problem.memory_mib:
            raise UserError(
                f"the cosines of {len(rows)} examples need {needed:.0f} MiB and memory_mib is {problem.memory_mib}; "
                "raise it, divide the examples of one class with label, or a part of them with most"
            )
        chosen = torch.from_numpy(rows)
        if by == "gradients":
            block = self.models.first.final_gradients(chosen)
            squares = block.norms_squared()
            similar = cosines(block.inner(block), squares, squares)
        else:
            units = unit_rows(self.models.representations().train[chosen])
            similar = units @ units.T
        found = cluster_examples(similar.numpy(force=True), count, exemplars)
        typical = tuple(tuple(int(rows[place]) for place in group) for group in found.exemplars)
        return Clusters(found.labels, found.sizes, found.cohesion, typical)

    def extremes(self, k: int = 10) -> Extremes:
        """Return the training examples with the largest and the smallest self-influence.

        Args:
            k: number of examples per list.

        Raises:
            UserError: the method does not define self-influence.
        """
        values = self.attributor.self_influence().numpy()
        downwards, upwards = np.argsort(-values, kind="stable")[:k], np.argsort(values, kind="stable")[:k]
        return Extremes(
            Ranked(downwards, values[downwards]),
            Ranked(upwards, values[upwards]),
            self.models.labels,
            self.models.predict(self.models.problem.x),
        )

    def everywhere(self, queries: Any, k: int = 10) -> Everywhere:
        """Return how often each training example is among the ``k`` strongest proponents of a query.

        Args:
            queries: queries with labels.
            k: number of proponents per query that count.
        """
        return proponents_everywhere(self.attributor.attribute(queries).numpy(), k)

    def carried(self, queries: Any, shares: Sequence[float] = SHARES) -> NDArray[np.int64]:
        """Return how many training examples carry each share of a query's total absolute score, (n_query, n_shares).

        Args:
            queries: queries with labels.
            shares: shares in (0, 1].
        """
        return carrying_examples(self.attributor.attribute(queries).numpy(), shares)

    def support_vectors(self) -> SupportVectors:
        """Return the support vectors of DualDA's classifier on the first model.

        Raises:
            UserError: the method is not DualDA.
        """
        found = self.models.results_of_first()
        if not {"support", "duals"} <= set(found):
            raise UserError(f"method '{self.models.choice.name}' has no support vectors; choose dualda")
        support, duals = (found[name].numpy(force=True) for name in ("support", "duals"))
        classes = self.models.classes
        assert classes is not None  # noqa: S101 -- the method is for classification
        own = duals[np.arange(len(support)), classes[support]]
        order = np.argsort(-own, kind="stable")
        return SupportVectors(support[order], duals[order], own[order])

    def _representations(self, x: Rows) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """Return the representations of training examples and queries, where there are any."""
        try:
            pair = self.models.representations(x)
        except UserError:  # the method uses no model, or the model has no linear layer
            return None
        return pair.train.numpy(force=True), pair.query.numpy(force=True)

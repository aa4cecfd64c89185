"""Parts of an attributor that explanations use: its method, its models, and the training set."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from proponent.attributor import Attributor
from proponent.errors import UserError
from proponent.features.views import RepresentationPair
from proponent.rows import Rows
from proponent.settings.split import Arrays
from proponent.trained.live_member import LiveMember, Problem
from proponent.trained.method_choice import Choice


class ExplainedModels:
    """The only place that reads the inner parts of an attributor.

    Args:
        attributor: the attributor.
        models: largest number of models that explain scores; None for all.
    """

    def __init__(self, attributor: Attributor, models: int | None = None) -> None:
        self._attributor = attributor
        self.choice: Choice = attributor._choice
        self.problem: Problem = attributor._problem
        self.train_labels: Tensor = attributor._y
        self.members: list[LiveMember] = attributor._members[:models] if attributor._uses_models else []

    @property
    def labels(self) -> NDArray[Any] | None:
        """Labels of the training examples, (n_train,); None where an example has several."""
        y = self.train_labels
        return y.numpy(force=True) if y.ndim == 1 else None

    @property
    def classes(self) -> NDArray[np.int64] | None:
        """Class labels of the training examples, (n_train,); None for a task without classes."""
        labels = self.labels
        return labels if labels is not None and labels.dtype.kind in "iu" else None

    @property
    def first(self) -> LiveMember:
        """The first model.

        Raises:
            UserError: the method uses no model.
        """
        if not self.members:
            raise UserError(
                f"method '{self.choice.name}' uses no model, so that it has no gradients, representations or predictions to "
                "explain; choose graddot, trak, ekfac or dualda"
            )
        return self.members[0]

    def rows(self, queries: Any) -> tuple[Rows, Tensor]:
        """Return inputs and labels of queries as the models take them.

        Raises:
            UserError: they do not fit the training examples.
        """
        return self._attributor._rows(queries, "queries")

    def predict(self, x: Rows) -> NDArray[np.int64] | None:
        """Return the class that the models predict per row, by their mean logits; None without models or classes.

        Args:
            x: (n, ...) inputs.
        """
        if not self.members or self.classes is None:
            return None
        logits = torch.stack([member.predictions(x) for member in self.members]).mean(0).reshape(len(x), -1)
        found = logits.argmax(1) if logits.shape[1] > 1 else (logits[:, 0] > 0).long()
        return found.numpy(force=True)

    def representations(self, x: Rows | None = None) -> RepresentationPair:
        """Return the representations of training examples and queries by the first model at the end of its training.

        Args:
            x: (n_query, ...) inputs of the queries; None for the first training example.

        Raises:
            UserError: the method uses no model, or the model has no linear layer.
        """
        own = self.problem.x[:1] if x is None else x
        return self.first.need("representations", own, self.problem.y[:1]).at(1.0)

    def results_of_first(self) -> dict[str, Any]:
        """Return everything that the method returns for the first model, with the first training example as the query."""
        x, y = self.problem.x, self.train_labels
        found = self.first.call(self.choice, Arrays(x, y, x[:1], y[:1]))
        return dict(found) if isinstance(found, dict) else {"scores": found}

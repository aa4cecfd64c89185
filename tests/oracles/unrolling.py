"""Unrolling by brute force in float64: finite differences of whole trainings, dense products of steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from oracles.training import train_alone
from proponent.config.schema import RecipeConfig
from proponent.settings.split import Arrays
from proponent.settings.tasks import Task
from proponent.training.designs import Run


def differences(
    build: Callable[[int], nn.Module],
    data: Arrays,
    recipe: RecipeConfig,
    run: Run,
    task: Task,
    size: float = 1e-4,
) -> Tensor:
    """Return the derivatives of the queries' targets by the examples' weights, (n_query, n_train).

    Each example is weighted up and down a little through a complete ordinary training (torch.optim).
    """

    def targets(weights: Tensor) -> Tensor:
        weighted = replace(run, mask=weights, by_weight=True)
        model, _, _ = train_alone(build, data.x_train, data.y_train, recipe, weighted, loss=task.loss)
        with torch.no_grad():
            return task.target(model.eval()(data.x_query), data.y_query)

    columns = []
    for example in range(len(data.x_train)):
        step = torch.zeros(len(data.x_train), dtype=torch.float64)
        step[example] = size
        columns.append((targets(1 + step) - targets(1 - step)) / (2 * size))
    return torch.stack(columns, 1)


def embeddings(gradients: list[Tensor], batches: list[Tensor], rates: list[float], n: int) -> Tensor:
    """Return the data value embeddings of plain SGD, (n, p), by their definition: dense products of matrices.

    ``sum over the steps t that use i of eta_t [prod_{k > t} (I - eta_k H_k)] g_i(theta_t)`` with ``H_k`` the sum of
    outer products of the step's gradients (Wang et al. 2025); eta is the learning rate over the batch's size.
    """
    p = gradients[0].shape[1]
    found = torch.zeros(n, p, dtype=torch.float64)
    for t, (rows, batch) in enumerate(zip(gradients, batches, strict=True)):
        product = torch.eye(p, dtype=torch.float64)
        for later in range(t + 1, len(gradients)):
            rate = rates[later] / len(batches[later])
            step = torch.eye(p, dtype=torch.float64) - rate * gradients[later].T @ gradients[later]
            product = step @ product
        found[batch] += rates[t] / len(batch) * rows @ product.T
    return found

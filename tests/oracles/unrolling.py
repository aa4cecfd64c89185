"""Unrolling by brute force in float64: finite differences of whole trainings, dense products of steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from oracles.dense_model import outputs_of
from oracles.training import train_alone
from proponent.config.recipe_schema import RecipeConfig
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
    augment: Callable[[Tensor, int, int], Tensor] | None = None,
) -> Tensor:
    """Return the derivatives of the queries' targets with respect to the examples' weights, (n_query, n_train).

    The weight of each example is slightly increased and decreased in a complete ordinary training (torch.optim).
    """
    factors = 1.0 if data.weight_train is None else data.weight_train

    def targets(weights: Tensor) -> Tensor:
        weights = weights * factors
        weighted = replace(run, mask=weights, by_weight=True)
        model, _, _ = train_alone(
            build, data.x_train, data.y_train, recipe, weighted, loss=task.loss, augment=augment
        )
        with torch.no_grad():
            return task.target(outputs_of(model.eval(), data.x_query), data.y_query)

    columns = []
    for example in range(len(data.x_train)):
        step = torch.zeros(len(data.x_train), dtype=torch.float64)
        step[example] = size
        columns.append((targets(1 + step) - targets(1 - step)) / (2 * size))
    return torch.stack(columns, 1)


def embeddings(gradients: list[Tensor], batches: list[Tensor], rates: list[float], n: int) -> Tensor:
    """Return the data value embeddings of plain SGD, (n, p), as dense products of matrices by their definition.

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


@dataclass
class Part:
    """Part of training with constant gradients and curvature."""

    examples: slice
    length: float
    """Sum of the learning rates."""
    curvature: Tensor
    """Hessian of the mean loss of these examples plus the weight decay, (p, p)."""
    gradients: Tensor
    """Gradients of the losses, (number of examples, p)."""


def by_segments(queries: Tensor, parts: list[Part], n: int) -> Tensor:
    """Return the scores of SOURCE, (n_query, n), by dense matrix exponentials (Bae et al. 2024, equations 16 and 20-24).

    ``- (1/n_l) sum_l g_q [prod_{k > l} exp(-E_k H_k)] (I - exp(-E_l H_l)) H_l^-1 gbar_{l,i}``, where ``gbar_{l,i}`` is 0 and
    n_l does not count i unless i is among the examples of part l.

    Args:
        queries: gradients of the targets at the end of training, (n_query, p).
        parts: parts of training, in order.
        n: number of examples.
    """
    scores, eye = queries.new_zeros(len(queries), n), torch.eye(queries.shape[1], dtype=queries.dtype)
    steps = [torch.linalg.matrix_exp(-part.length * part.curvature) for part in parts]
    for index, part in enumerate(parts):
        summed = torch.linalg.solve(part.curvature, (eye - steps[index]) @ part.gradients.T)
        for later in steps[index + 1 :]:
            summed = later @ summed
        scores[:, part.examples] -= queries @ summed / len(part.gradients)
    return scores

"""Influence by its definition: the derivative of the retrained targets with respect to an example's weight."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def retraining_slopes(
    train: Callable[[Tensor], Tensor], targets: Callable[[Tensor], Tensor], n: int, step: float = 1e-5
) -> Tensor:
    """Return d targets / d w_i by central differences of retraining, (n_query, n).

    Args:
        train: function from the weights of the training examples (n,) to the parameters at the minimum.
        targets: function from parameters to the targets of the queries, (n_query,).
        n: number of training examples.
        step: change of a weight.
    """
    slopes = []
    for i in range(n):
        weights = torch.ones(n, dtype=torch.float64)
        weights[i] += step
        up = targets(train(weights))
        weights[i] -= 2 * step
        slopes.append((up - targets(train(weights))) / (2 * step))
    return torch.stack(slopes, dim=1)


def dense_influence(
    query_gradients: Tensor, loss_gradients: Tensor, curvature: Tensor, shift: float
) -> Tensor:
    """Return -(1/n) g_q^T (C + shift I)^-1 grad loss_i by a dense inverse, (n_query, n)."""
    inverse = torch.linalg.inv(curvature + shift * torch.eye(len(curvature), dtype=curvature.dtype))
    return -query_gradients @ inverse @ loss_gradients.T / len(loss_gradients)


def one_by_one(gradient_of: Callable[[Tensor], Tensor], theta: Tensor) -> Tensor:
    """Return the gradient of each entry of ``gradient_of(theta)`` by ordinary backward passes, (n, p)."""
    theta = theta.clone().requires_grad_(True)
    values = gradient_of(theta)
    return torch.stack([torch.autograd.grad(value, theta, retain_graph=True)[0] for value in values])


def mean_of_inverses(loss_gradients: Tensor, shift: float) -> Tensor:
    """Return (1/n) sum_j (G_j G_j^T + shift I)^-1 by inverting every matrix (DataInf), (d, d)."""
    identity = shift * torch.eye(loss_gradients.shape[1], dtype=loss_gradients.dtype)
    return torch.stack([torch.linalg.inv(torch.outer(row, row) + identity) for row in loss_gradients]).mean(0)

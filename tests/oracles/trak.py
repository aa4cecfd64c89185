"""TRAK by its formula, in parameter space, one member and one pair at a time."""

from __future__ import annotations

import torch
from torch import Tensor


def kernel(train: Tensor, query: Tensor, rows: Tensor, damping: float) -> Tensor:
    """Return phi_q^T (Phi^T R Phi + lambda I)^-1 phi_i, (n_query, n_train).

    lambda is ``damping`` times the mean of R_i |phi_i|^2.
    """
    n, p = train.shape
    absolute = damping * sum(float(rows[i] * train[i] @ train[i]) for i in range(n)) / n
    matrix = absolute * torch.eye(p, dtype=train.dtype)
    for i in range(n):
        matrix += rows[i] * torch.outer(train[i], train[i])
    inverse = torch.linalg.inv(matrix)
    return torch.stack([torch.stack([q @ inverse @ phi for phi in train]) for q in query])


def ensemble(kernels: list[Tensor], weights: list[Tensor]) -> Tensor:
    """Return the mean kernel times the mean weight of each training example."""
    mean_kernel = torch.stack(kernels).mean(0)
    mean_weight = torch.stack(weights).mean(0)
    return mean_kernel * mean_weight[None, :]

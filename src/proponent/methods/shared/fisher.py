"""Projected gradients in the eigenbasis of their second moment: what the projected influence methods share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from proponent.methods.shared.needs import GradientBlock


@dataclass(frozen=True)
class FisherLayer:
    """One layer's gradients rotated into the eigenbasis of R, a second moment of the training losses' gradients."""

    values: Tensor
    """(k,) eigenvalues of R, not negative."""
    train: Tensor
    """(n_train, k) rotated gradients of the target."""
    query: Tensor
    """(n_query, k)"""

    def inverse(self, damping: float) -> Tensor:
        """Return ``1 / (eigenvalues + damping * their mean)``, (k,)."""
        smallest = torch.finfo(self.values.dtype).tiny
        return 1 / (self.values + damping * self.values.mean()).clamp_min(smallest)


def fisher_layers(
    train: Iterable[GradientBlock],
    query: Iterable[GradientBlock],
    loss_weight: Tensor,
    mixing: float = 0.0,
) -> list[FisherLayer]:
    """Rotate the projected gradients of each layer.

    Args:
        train: of the target, a block a layer.
        query: the same of the queries.
        loss_weight: (n_train,) makes them gradients of the losses.
        mixing: share of the queries' own second moment (of the target's gradients) in R.
    """
    layers = []
    for block, asked in zip(train, query, strict=True):
        rows, queries = block.dense(), asked.dense()
        losses = loss_weight[:, None] * rows
        moment = (1 - mixing) * (losses.T @ losses) / len(losses)
        if mixing:
            moment += mixing * (queries.T @ queries) / len(queries)
        values, vectors = torch.linalg.eigh(moment)
        layers.append(FisherLayer(values.clamp_min(0), rows @ vectors, queries @ vectors))
    return layers


def influence(layers: list[FisherLayer], damping: float) -> Tensor:
    """Return ``sum_l g_q^T (R_l + damping * mean eigenvalue)^-1 g_i``, (n_query, n_train)."""
    return torch.stack([(layer.query * layer.inverse(damping)) @ layer.train.T for layer in layers]).sum(0)


def squared_lengths(layers: list[FisherLayer], damping: float, side: str) -> Tensor:
    """Return ``sum_l g^T (R_l + ...)^-1 g`` of the rows of one side (``train`` or ``query``), (n,)."""
    return torch.stack([getattr(layer, side).square() @ layer.inverse(damping) for layer in layers]).sum(0)

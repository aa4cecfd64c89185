"""Attention over subsets of training examples, and an encoder that is tuned so that it predicts retrainings (AirRep).

(Sun et al. 2025, "Enhancing training data attribution with representational optimization".)
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

_LEAST_GAP, _LARGEST_GAP = 0.1, 5.0
"""Range of the weights of pairs in the loss; pairs with a smaller gap do not count."""
_BOUND = 20.0
"""Bound of the inner products, so that attention does not concentrate on a single example."""
_WIDTH = 128
"""Width of the encoder's hidden layer; embeddings have half of it."""
_LEARNING_RATE = 0.003
_SUBSETS_PER_STEP = 48
"""Retrainings that are compared per step of AdamW."""


def bounded_products(embeddings: Mapping[str, Tensor]) -> Tensor:
    """Return the inner products of the embeddings ``query`` and ``train``, bounded by 20, (n_query, n_train)."""
    return _BOUND * torch.tanh(embeddings["query"] @ embeddings["train"].T / _BOUND)


def attended(products: Tensor, masks: Tensor) -> Tensor:
    """Return the means of the kept columns of ``products``, weighted by attention, (n_subsets, n_query).

    Args:
        products: bounded inner products, (n_query, n_train).
        masks: subsets, (n_subsets, n_train) bool, True = kept.
    """
    attention = products.abs().exp()
    kept = masks.to(products)
    return kept @ (attention * products).T / (kept @ attention.T).clamp_min(torch.finfo(products.dtype).tiny)


def pair_loss(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean over pairs of subsets and over queries of the weighted pairwise loss.

    Args:
        predicted: values of the subsets, (n_subsets, n_query).
        wanted: standardised targets of the retrainings, (n_subsets, n_query).
    """
    gap = wanted[:, None] - wanted[None]
    weight = torch.where(gap < _LEAST_GAP, 0.0, gap.clamp_max(_LARGEST_GAP))
    return (weight * softplus(predicted[None] - predicted[:, None])).sum() / weight.sum().clamp_min(1e-12)


def tuned_embeddings(
    train: Tensor, query: Tensor, masks: Tensor, wanted: Tensor, steps: int, seed: int
) -> dict[str, Tensor]:
    """Return the embeddings ``query`` (n_query, d) and ``train`` (n_train, d) of an encoder after its tuning.

    Args:
        train: inputs of the encoder for the training examples, (n_train, d_in).
        query: inputs of the encoder for the queries, (n_query, d_in).
        masks: subsets of the retrainings, (n_subsets, n_train) bool.
        wanted: standardised targets of the retrainings, (n_subsets, n_query).
        steps: number of steps of AdamW.
        seed: seed of the initialisation and of the subsets of each step.
    """
    generator = torch.Generator().manual_seed(seed)
    encoder = _encoder(train.shape[1], generator).to(train)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=_LEARNING_RATE)
    with torch.enable_grad():
        for _ in range(steps):
            rows = torch.randperm(len(masks), generator=generator)[:_SUBSETS_PER_STEP]
            products = bounded_products({"query": encoder(query), "train": encoder(train)})
            loss = pair_loss(attended(products, masks[rows]), wanted[rows])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
            optimizer.step()
    with torch.no_grad():
        return {"query": encoder(query), "train": encoder(train)}


def _encoder(d_in: int, generator: torch.Generator) -> nn.Module:
    encoder = nn.Sequential(nn.Linear(d_in, _WIDTH), nn.GELU(), nn.Linear(_WIDTH, _WIDTH // 2))
    for parameter in encoder.parameters():
        bound = parameter.shape[-1] ** -0.5
        parameter.data = (2 * torch.rand(parameter.shape, generator=generator) - 1) * bound
    return encoder

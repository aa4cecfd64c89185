"""AirRep (Sun et al. 2025, "Enhancing training data attribution with representational optimization").

An encoder of examples is tuned until attention over a subset tells how well a model does that was trained on it:

    f(q, S) = sum over i in S of a_i <e_q, e_i>,      a = softmax over S of |<e_q, e_i>|

The encoder sees the representation h at the last layer of one member, and the label; the paper tunes a language
model. It learns from retrainings: with r_j the target on subset S_j, standardised over subsets, all pairs with
r_i > r_j enter ``w_ij softplus(f(q, S_j) - f(q, S_i))``, ``w_ij = min(r_i - r_j, 5)``, or 0 below .1.

``scores[q, i] = <e_q, e_i>``, (n_query, n_train), is what a single example counts for; what a group counts for is
no sum of these, and the LDS asks :func:`group_scores`. Cost: a step takes a few products of n_query x n_train by
subsets. It can say of an example only what its representation and label say, and its groups are averages: they do
not know how large they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, softplus

from proponent.methods.shared.needs import Data, Representations, Retrainings
from proponent.seeds import derive_seed

TASKS = ("classification",)

_LEAST_GAP, _LARGEST_GAP = 0.1, 5.0
_BOUND = 20.0
_CLIP = 10.0
"""Standardised targets beyond it are taken for it."""


def attribute(
    data: Data,
    representations: Representations,
    retrainings: Retrainings,
    *,
    steps: int = 600,
    learning_rate: float = 0.003,
    width: int = 128,
    subsets_a_step: int = 48,
    checkpoint: float = 1.0,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Return ``scores`` (n_query, n_train), and the embeddings ``query`` (n_query, d) and ``train`` (n_train, d).

    Args:
        data: for the labels.
        representations: of one member.
        retrainings: of the ``fit`` design.
        steps: of AdamW.
        learning_rate: of AdamW.
        width: of the encoder's hidden layer; embeddings have half of it.
        subsets_a_step: retrainings that are compared at a time.
        checkpoint: fraction of training.
        seed: of the encoder's initialisation and of the subsets.
    """
    pair = representations.at(checkpoint)
    train = torch.cat([pair.train, one_hot(data.y_train).to(pair.train)], dim=1)
    classes = train.shape[1] - pair.train.shape[1]
    query = torch.cat([pair.query, one_hot(data.y_query, classes).to(pair.query)], dim=1)
    mean, spread = train.mean(0), train.std(0).clamp_min(1e-6)
    train, query = (train - mean) / spread, (query - mean) / spread
    targets = retrainings.targets.to(train)
    wanted = (targets - targets.mean(0)) / targets.std(0).clamp_min(torch.finfo(train.dtype).tiny)
    generator = torch.Generator().manual_seed(derive_seed(seed, "airrep"))
    encoder = _encoder(train.shape[1], width, generator).to(train)
    with torch.enable_grad():
        _tune(
            encoder,
            train,
            query,
            retrainings.masks,
            wanted.clamp(-_CLIP, _CLIP),
            steps,
            learning_rate,
            subsets_a_step,
            generator,
        )
    with torch.no_grad():
        tuned = {"query": encoder(query), "train": encoder(train)}
    return {"scores": inner(tuned), **tuned}


def group_scores(stored: Mapping[str, Tensor], masks: Tensor) -> Tensor:
    """Return f(q, S) for each subset, (n_subsets, n_query).

    Args:
        stored: what :func:`attribute` returned.
        masks: (n_subsets, n_train) bool.
    """
    return attended(inner(stored), masks)


def inner(embeddings: Mapping[str, Tensor]) -> Tensor:
    """Return the inner products, (n_query, n_train), bent so that none is beyond 20.

    Attention to one example alone would leave nothing of a subset without it.
    """
    return _BOUND * torch.tanh(embeddings["query"] @ embeddings["train"].T / _BOUND)


def attended(inner: Tensor, masks: Tensor) -> Tensor:
    """Return the means of the kept columns of ``inner``, weighted by attention, (n_subsets, n_query)."""
    attention = inner.abs().exp()
    kept = masks.to(inner)
    return kept @ (attention * inner).T / (kept @ attention.T).clamp_min(torch.finfo(inner.dtype).tiny)


def pair_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean over pairs of subsets and queries of the weighted pairwise loss; both are (n_subsets, n_query)."""
    gap = wanted[:, None] - wanted[None]
    weight = torch.where(gap < _LEAST_GAP, 0.0, gap.clamp_max(_LARGEST_GAP))
    return (weight * softplus(found[None] - found[:, None])).sum() / weight.sum().clamp_min(1e-12)


def _encoder(d_in: int, width: int, generator: torch.Generator) -> nn.Module:
    encoder = nn.Sequential(nn.Linear(d_in, width), nn.GELU(), nn.Linear(width, max(width // 2, 1)))
    for parameter in encoder.parameters():
        bound = parameter.shape[-1] ** -0.5
        parameter.data = (2 * torch.rand(parameter.shape, generator=generator) - 1) * bound
    return encoder


def _tune(
    encoder: nn.Module,
    train: Tensor,
    query: Tensor,
    masks: Tensor,
    wanted: Tensor,
    steps: int,
    learning_rate: float,
    subsets_a_step: int,
    generator: torch.Generator,
) -> None:
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=learning_rate)
    for _ in range(steps):
        rows = torch.randperm(len(masks), generator=generator)[:subsets_a_step]
        products = inner({"query": encoder(query), "train": encoder(train)})
        loss = pair_loss(attended(products, masks[rows]), wanted[rows])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()

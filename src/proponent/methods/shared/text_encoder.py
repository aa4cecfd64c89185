"""A pretrained text encoder that is tuned so that attention over its embeddings predicts retrainings (AirRep).

The lower layers stay as they are, so that their states are computed once. A step of the tuning passes a sample of the
examples and of the queries through the upper layers; the embeddings of all other examples are those of the step in which
each was last part of a sample. So the attention of a step is over whole subsets, at the cost of the sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from proponent.chunking import chunks
from proponent.methods.shared.needs import TextStates
from proponent.methods.shared.subset_attention import attended, bounded_products, pair_loss
from proponent.progress import progress

_SAMPLED_EXAMPLES, _SAMPLED_QUERIES, _SAMPLED_SUBSETS = 128, 32, 32
"""Training examples and queries that a step passes through the encoder, and retrainings that it compares."""
_BATCH = 256


class TextEncoder(nn.Module):
    """The last layers of an encoder, the mean over tokens, and a linear layer, which begins as centring and one scale.

    At the beginning the embeddings of the training examples have mean 0 and mean squared length 1.

    Args:
        upper: the layers that are tuned, as :meth:`proponent.methods.shared.needs.Texts.upper_layers` returns them.
        texts: training examples.
    """

    def __init__(self, upper: Any, texts: TextStates) -> None:
        super().__init__()
        self.upper = upper
        width = upper.width
        self.projection = nn.Linear(width, width)
        with torch.no_grad():
            self.projection.weight.copy_(torch.eye(width))
            self.projection.bias.zero_()
            plain = embedded(self, texts)
            scale = (plain - plain.mean(0)).square().sum(1).mean().rsqrt()
            self.projection.weight.mul_(scale)
            self.projection.bias.copy_(-scale * plain.mean(0))

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return embeddings, (n, width)."""
        return self.projection(self.upper.pooled(states, mask))


def embedded(encoder: nn.Module, texts: TextStates) -> Tensor:
    """Return the embeddings of all texts, (n, width), without a graph."""
    with torch.no_grad():
        return torch.cat(
            [encoder(texts.states[rows], texts.mask[rows]) for rows in chunks(len(texts), _BATCH)]
        )


def tune(
    encoder: nn.Module,
    texts: Mapping[str, TextStates],
    masks: Tensor,
    wanted: Tensor,
    *,
    steps: int,
    learning_rate: float,
    seed: int,
) -> None:
    """Tune the encoder by AdamW.

    Args:
        encoder: module from states and mask to embeddings.
        texts: ``train`` and ``query``.
        masks: subsets of the retrainings, (n_subsets, n_train) bool.
        wanted: standardised targets of the retrainings, (n_subsets, n_query).
        steps: number of steps.
        learning_rate: learning rate.
        seed: seed of the samples.
    """
    generator = torch.Generator().manual_seed(seed)
    latest = embedded(encoder, texts["train"])
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=learning_rate)
    train_rows = _samples(len(texts["train"]), _SAMPLED_EXAMPLES, generator)
    query_rows = _samples(len(texts["query"]), _SAMPLED_QUERIES, generator)
    subset_rows = _samples(len(masks), _SAMPLED_SUBSETS, generator)
    for _ in progress(range(steps), "tuning the encoder"):
        rows = {"train": next(train_rows), "query": next(query_rows)}
        with torch.enable_grad():
            fresh = {
                part: encoder(texts[part].states[own], texts[part].mask[own]) for part, own in rows.items()
            }
            train = latest.index_copy(0, rows["train"], fresh["train"])
            products = bounded_products({"query": fresh["query"], "train": train})
            subsets = next(subset_rows)
            loss = pair_loss(attended(products, masks[subsets]), wanted[subsets][:, rows["query"]])
            optimizer.zero_grad()
            loss.backward()
        nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
        latest = train.detach()


def _samples(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield samples of ``size`` of ``count`` rows without end, every row about equally often."""
    waiting = torch.empty(0, dtype=torch.long)
    size = min(size, count)
    while True:
        while len(waiting) < size:
            order = torch.randperm(count, generator=generator)
            waiting = torch.cat([waiting, order[~torch.isin(order, waiting)]])
        yield waiting[:size]
        waiting = waiting[size:]

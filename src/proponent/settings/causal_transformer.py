"""A small decoder-only transformer for sequences of tokens, with learned or relative positions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from proponent.errors import UserError

_DEVIATION = 0.02
"""Standard deviation of the initial weights, as in GPT-2."""


class CausalAttention(nn.Module):
    """Attention to a position itself and to those before it.

    Args:
        width: width of the states.
        heads: number of heads.
        length: largest number of positions; None for no positions of its own, and a number for relative ones, which are
            those of the Music Transformer (Huang et al., 2018, eq. 3): a learned vector per head and distance, whose product
            with the query is added to that with the key.
    """

    def __init__(self, width: int, heads: int, length: int | None = None) -> None:
        super().__init__()
        self._heads = heads
        self.inputs = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.distances = (
            None if length is None else nn.Parameter(_DEVIATION * torch.randn(heads, length, width // heads))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the attended states, (n, length, width), of states of the same shape."""
        query, key, value = self.inputs(x).unflatten(-1, (3, self._heads, -1)).movedim(-2, -4).unbind(-2)
        if self.distances is None:
            attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        else:
            length = x.shape[-2]
            query = query / math.sqrt(query.shape[-1])
            logits = query @ key.mT + skewed(query @ by_end(self.distances[:, :length]).mT)
            later = torch.full((length, length), -torch.inf, dtype=x.dtype, device=x.device).triu(1)
            attended = (logits + later).softmax(-1) @ value  # faster than masked_fill, also backwards
        return self.output(attended.movedim(-3, -2).flatten(-2))


def by_end(distances: Tensor) -> Tensor:
    """Return vectors by distance, (..., L, d), in the order of :func:`skewed`, (..., L + 1, d): 0, then the farthest."""
    return F.pad(distances.flip(-2), (0, 0, 1, 0))


def skewed(products: Tensor) -> Tensor:
    """Return products by pair of positions, (..., L, L), from products by position and distance (Huang et al., 2018).

    This is a view, which saves passes over all pairs of positions.

    Args:
        products: (..., L, L + 1), of which entry (i, L - d) belongs to position i and the position i - d before it.

    Returns:
        Entry (i, j) is that of the distance i - j for ``j <= i``; those above the diagonal are of no meaning.
    """
    length = products.shape[-2]
    return products.flatten(-2)[..., length:].unflatten(-1, (length, length))


class Block(nn.Module):
    """Attention and two linear layers, each behind a normalisation and with a residual connection.

    Args:
        width: width of the states.
        heads: number of heads.
        length: as in :class:`CausalAttention`.
    """

    def __init__(self, width: int, heads: int, length: int | None) -> None:
        super().__init__()
        self.before_attention, self.attention = nn.LayerNorm(width), CausalAttention(width, heads, length)
        self.before_layers = nn.LayerNorm(width)
        self.layers = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Return states of the same shape, (n, length, width)."""
        x = x + self.attention(self.before_attention(x))
        return x + self.layers(self.before_layers(x))


class CausalTransformer(nn.Module):
    """Transformer that predicts the next token at each position; the embedding is the weight of the output as well.

    Padding at the end of a sequence changes no position before it.

    Args:
        vocabulary: number of tokens.
        length: largest number of positions.
        width: width of the states.
        heads: number of heads, a divisor of the width.
        layers: number of blocks.
        relative: whether attention has relative positions; otherwise each position has a learned vector.
    """

    def __init__(
        self, vocabulary: int, length: int, width: int, heads: int, layers: int, relative: bool
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.positions = None if relative else nn.Parameter(_DEVIATION * torch.randn(length, width))
        self.blocks = nn.Sequential(
            *(Block(width, heads, length if relative else None) for _ in range(layers))
        )
        self.norm = nn.LayerNorm(width)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=_DEVIATION)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits, (n, length, vocabulary), of token numbers (n, length)."""
        states = self.embedding(tokens)
        if self.positions is not None:
            states = states + self.positions[: tokens.shape[-1]]
        return F.linear(self.norm(self.blocks(states)), self.embedding.weight)


def causal_transformer(
    vocabulary: int,
    length: int,
    width: int = 64,
    heads: int = 4,
    layers: int = 2,
    relative: bool = False,
) -> nn.Module:
    """Return a small GPT, or a music transformer if ``relative``; arguments as in :class:`CausalTransformer`.

    Raises:
        UserError: the width is not a multiple of the number of heads.
    """
    if width % heads:
        raise UserError(f"model.args: width ({width}) must be a multiple of heads ({heads})")
    return CausalTransformer(vocabulary, length, width, heads, layers, relative)

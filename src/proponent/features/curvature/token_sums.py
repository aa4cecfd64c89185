"""Gradients of an embedding whose tokens stay axes: one row of numbers per token that occurs in an example.

Few of the tokens of a vocabulary occur in an example, so that these rows are far fewer numbers than the whole gradient.
Rows are in the order of their tokens, and all examples with a token meet the queries in one product.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenSums:
    """Gradients of n examples.

    Attributes:
        n: number of examples.
        tokens: (k,) token of each row, ascending.
        examples: (k,) example of each row; no two rows have the same token and example.
        values: (k, columns) sums over the positions of the token in the example.
    """

    n: int
    tokens: Tensor
    examples: Tensor
    values: Tensor

    def add_squares(self, total: Tensor) -> None:
        """Add the squares, summed over examples, to ``total`` (tokens, columns)."""
        total.index_add_(0, self.tokens, self.values.square())

    def dense(self, rows: int) -> Tensor:
        """Return the whole gradients, (n, rows, columns)."""
        out = self.values.new_zeros(self.n * rows, self.values.shape[1])
        out[self.examples * rows + self.tokens] = self.values
        return out.unflatten(0, (self.n, rows))

    def inner(self, queries: Tensor) -> Tensor:
        """Return the inner products with ``queries`` (n_query, rows, columns), (n_query, n)."""
        out = self.values.new_zeros(self.n, len(queries))
        found, counts = torch.unique_consecutive(self.tokens, return_counts=True)
        sizes = counts.tolist()
        parts = zip(found.tolist(), self.examples.split(sizes), self.values.split(sizes), strict=True)
        for token, examples, values in parts:
            out.index_add_(0, examples, values @ queries[:, token].T)
        return out.T

    def squares_inner(self, weights: Tensor) -> Tensor:
        """Return the sums of the squares, weighted by ``weights`` (rows, columns), (n,)."""
        weighted = (self.values.square() * weights[self.tokens]).sum(1)
        return self.values.new_zeros(self.n).index_add_(0, self.examples, weighted)


def token_sums(tokens: Tensor, values: Tensor) -> TokenSums:
    """Return the sums of the values of positions by token and example.

    Args:
        tokens: token numbers, (n, positions).
        values: gradients of the output, (n, positions, columns).
    """
    n = len(tokens)
    example = torch.arange(n, device=tokens.device)[:, None]
    pairs, where = torch.unique(tokens * n + example, return_inverse=True)
    sums = values.new_zeros(len(pairs), values.shape[2])
    sums.index_add_(0, where.flatten(), values.flatten(0, 1))
    return TokenSums(n, pairs // n, pairs % n, sums)

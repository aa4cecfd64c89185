"""Gradients of one parameter for n examples, and their inner products, exact and in bounded memory.

:class:`WeightPart` holds sums of outer products. For one position per example the inner products of a linear
layer are ``(A Bᵀ + 1) ∘ (G Hᵀ)``: A, B are inputs, G, H output gradients, and the 1 is the bias. With several
positions the cheaper of two exact ways is taken: all pairs of positions, or the gradients written out for some
rows of the weight at a time. :class:`RowsPart` holds gradients that are written out.

Temporaries stay below about ``TEMPORARY_MIB`` in addition to an operation's result, unless one example alone needs
more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from proponent.chunking import chunks
from proponent.features.gradients.factors import Factor, Term, factor_gram

TEMPORARY_MIB = 128
BLOCK_ROWS = 1024
"""Rows of a block of inner products; two such blocks stay in the processor's cache."""
SYMMETRIC_ROWS = 512
ELEMENTWISE = 16
"""Cost of an elementwise operation, in multiply-adds of a matrix product."""
Parameters = dict[str, tuple[int, ...]]
"""Shape of every trainable parameter, in the order in which gradients are laid out."""


def parameter_spans(parameters: Parameters) -> dict[str, slice]:
    """Return the columns of each parameter in a flattened gradient."""
    spans, start = {}, 0
    for name, shape in parameters.items():
        spans[name] = slice(start, start + math.prod(shape))
        start += math.prod(shape)
    return spans


def temporary(dtype: torch.dtype) -> int:
    """Return the number of elements that a temporary may hold."""
    return TEMPORARY_MIB * 2**20 // dtype.itemsize


def add_product(mine: Tensor, theirs: Tensor, out: Tensor, symmetric: bool) -> None:
    """Add ``mine @ theirs.T`` to ``out``, in place; if ``symmetric``, to its lower blocks only."""
    if not symmetric:
        out.addmm_(mine, theirs.T)
        return
    for rows in chunks(len(out), BLOCK_ROWS):
        out[rows, : rows.stop].addmm_(mine[rows], theirs[: rows.stop].T)


def symmetrize(out: Tensor) -> None:
    """Copy the lower triangle to the upper one, in blocks that stay in cache."""
    for rows in chunks(len(out), SYMMETRIC_ROWS):
        square = out[rows, rows]
        square.copy_(square.tril() + square.tril(-1).T)
        for others in chunks(rows.start, SYMMETRIC_ROWS):
            out[others, rows] = out[rows, others].T


@dataclass(frozen=True)
class WeightPart:
    """Gradients of one weight, and of a bias that serves this weight only, as sums of outer products."""

    name: str
    rows: int
    columns: int
    terms: tuple[Term, ...]
    bias: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters of this part."""
        return (self.name,) if self.bias is None else (self.name, self.bias)

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the values."""
        return self.terms[0].dtype

    @property
    def device(self) -> torch.device:
        """Device of the values."""
        return self.terms[0].right.values.device

    def __len__(self) -> int:
        return len(self.terms[0])

    def __getitem__(self, rows: Any) -> WeightPart:
        return replace(self, terms=tuple(term[rows] for term in self.terms))

    def bias_gradients(self) -> Tensor:
        """Return the gradients of the bias, (n, rows)."""
        return self.terms[0].left.values.sum(1)

    def write_out(self, low: int, high: int) -> Tensor:
        """Return rows ``low`` to ``high`` of the weight's gradients, (n, high - low, columns)."""
        out = torch.zeros(len(self), high - low, self.columns, dtype=self.dtype, device=self.device)
        unfolded = max(term.positions * term.right.width for term in self.terms)
        for rows in chunks(len(out), temporary(self.dtype) // unfolded):
            for term in self.terms:
                term[rows].add_to(out[rows], low, high)
        return out

    def elements(self, name: str, low: int, high: int) -> Tensor:
        """Return elements ``low`` to ``high`` of the flattened parameter's gradients, (n, high - low)."""
        if name == self.bias:
            return self.bias_gradients()[:, low:high]
        first, last = low // self.columns, -(-high // self.columns)
        return self.write_out(first, last).flatten(1)[
            :, low - first * self.columns : high - first * self.columns
        ]

    def row_ranges(self, examples: int) -> Iterator[slice]:
        """Yield ranges of the weight's rows whose gradients, of this many examples, fit in a temporary."""
        yield from chunks(self.rows, temporary(self.dtype) // max(1, examples * self.columns))

    def add_inner(self, other: WeightPart, out: Tensor, symmetric: bool) -> None:
        """Add the inner products to ``out`` (n, m), in place; if ``symmetric``, to its lower blocks only."""
        pairs = [(a, b) for a in self.terms for b in other.terms if a.overlaps(b)]
        if self._pairs_are_cheaper(other, pairs):
            for a, b in pairs:
                _add_pairs(a, b, out, self.bias is not None, symmetric)
            return
        for rows in self.row_ranges(len(self) if symmetric else len(self) + len(other)):
            mine = self.write_out(rows.start, rows.stop).flatten(1)
            theirs = mine if symmetric else other.write_out(rows.start, rows.stop).flatten(1)
            add_product(mine, theirs, out, symmetric)
        if self.bias is not None:
            add_product(self.bias_gradients(), other.bias_gradients(), out, symmetric)

    def _pairs_are_cheaper(self, other: WeightPart, pairs: list[tuple[Term, Term]]) -> bool:
        if not all(_comparable(a, b) for a, b in pairs):
            return False
        by_pairs = sum(len(a) * a.positions * len(b) * b.positions * _pair_cost(a, b) for a, b in pairs)
        sides = [term for part in (self, other) for term in part.terms]
        writing = sum(len(t) * t.positions * (ELEMENTWISE if t.left.tokens else self.rows) for t in sides)
        return by_pairs <= self.columns * (writing + self.rows * len(self) * len(other))

    def norms_squared(self) -> Tensor:
        """Return the squared norm of each example's gradient, (n,)."""
        term = self.terms[0]
        bias = 0.0 if self.bias is None else self.bias_gradients().square().sum(1)
        if len(self.terms) == 1 and term.positions == 1:
            return _squares(term.right, self.dtype) * _squares(term.left, self.dtype) + bias
        positions = sum(term.positions for term in self.terms)
        within = positions**2 * sum(_pair_cost(term, term) for term in self.terms)
        comparable = all(_comparable(a, b) for a in self.terms for b in self.terms if a.overlaps(b))
        if comparable and within < positions * self.rows * self.columns:
            return self._norms_within(positions) + bias
        total = torch.zeros(len(self), dtype=self.dtype, device=self.device)
        for rows in self.row_ranges(len(self)):
            total += self.write_out(rows.start, rows.stop).square_().sum((1, 2))
        return total + bias

    def _norms_within(self, positions: int) -> Tensor:
        total = torch.zeros(len(self), dtype=self.dtype, device=self.device)
        for rows in chunks(len(total), temporary(self.dtype) // (positions * (positions + self.columns))):
            for a in self.terms:
                for b in self.terms:
                    if a.overlaps(b):
                        total[rows] += _pairs_within(a[rows], b[rows])
        return total


@dataclass(frozen=True)
class RowsPart:
    """Written-out gradients of one parameter: ``values`` (n, number of elements)."""

    name: str
    values: Tensor

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters of this part."""
        return (self.name,)

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the values."""
        return self.values.dtype

    @property
    def device(self) -> torch.device:
        """Device of the values."""
        return self.values.device

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Any) -> RowsPart:
        return replace(self, values=self.values[rows])

    def elements(self, name: str, low: int, high: int) -> Tensor:
        """Return elements ``low`` to ``high`` of the flattened parameter's gradients, (n, high - low)."""
        return self.values[:, low:high]

    def add_inner(self, other: RowsPart, out: Tensor, symmetric: bool) -> None:
        """Add the inner products to ``out`` (n, m), in place; if ``symmetric``, to its lower blocks only."""
        add_product(self.values, other.values, out, symmetric)

    def norms_squared(self) -> Tensor:
        """Return the squared norm of each example's gradient, (n,)."""
        return self.values.square().sum(1)


Part = WeightPart | RowsPart


def _comparable(a: Term, b: Term) -> bool:
    """Return whether pairs of positions can be compared; tokens and plain values must cover the same rows."""
    return bool(a.left.tokens) == bool(b.left.tokens) or (a.start, a.stop) == (b.start, b.stop)


def _pair_cost(a: Term, b: Term) -> int:
    """Return the cost of one pair of positions, in multiply-adds."""
    return ELEMENTWISE + a.right.width + (0 if a.left.tokens or b.left.tokens else a.left.width)


def _aligned(mine: Term, theirs: Term) -> tuple[Factor, Factor]:
    """Return the left factors of two uses, restricted to the rows that both touch."""
    if mine.left.tokens or theirs.left.tokens:
        return mine.left, theirs.left
    start, stop = max(mine.start, theirs.start), min(mine.stop, theirs.stop)
    return (
        mine.left.narrow(start - mine.start, stop - mine.start),
        theirs.left.narrow(start - theirs.start, stop - theirs.start),
    )


def _add_pairs(mine: Term, theirs: Term, out: Tensor, with_bias: bool, symmetric: bool) -> None:
    """Add ``sum_ts (left_t . left_s) (right_t . right_s)`` to ``out`` (n, m), in blocks of both sides."""
    left, other_left = _aligned(mine, theirs)
    t, s = mine.positions, theirs.positions
    side = max(1, min(BLOCK_ROWS, int((temporary(out.dtype) / (4 * t * s)) ** 0.5)))
    for rows in chunks(len(mine), side):
        for others in chunks(rows.stop if symmetric else len(theirs), side):
            products = factor_gram(mine.right[rows], theirs.right[others], out.dtype)
            if with_bias:
                products += 1.0
            lefts = factor_gram(left[rows], other_left[others], out.dtype)
            if t * s == 1:
                out[rows, others].addcmul_(products, lefts)
            else:
                products *= lefts
                out[rows, others] += products.view(-1, t, len(theirs.right.values[others]), s).sum((1, 3))


def _pairs_within(a: Term, b: Term) -> Tensor:
    """Return each example's own ``sum_ts (left_t . left_s) (right_t . right_s)``, (n,)."""
    left, other_left = _aligned(a, b)
    if left.tokens and other_left.tokens:
        lefts = (left.values[:, :, None] == other_left.values[:, None, :]).to(a.dtype)
    elif left.tokens:
        lefts = other_left.values.gather(2, left.values[:, None, :].expand(-1, other_left.positions, -1)).mT
    elif other_left.tokens:
        lefts = left.values.gather(2, other_left.values[:, None, :].expand(-1, left.positions, -1))
    else:
        lefts = left.values @ other_left.values.mT
    return (lefts * (a.right.dense(a.dtype) @ b.right.dense(b.dtype).mT)).sum((1, 2))


def _squares(factor: Factor, dtype: torch.dtype) -> Tensor:
    """Return the squared norms of a factor with one position, (n,)."""
    if factor.tokens:
        return torch.ones(len(factor), dtype=dtype, device=factor.values.device)
    step = temporary(dtype) // factor.width
    return torch.cat([factor[rows].dense(dtype).square().sum((1, 2)) for rows in chunks(len(factor), step)])

"""Kronecker factors of one layer: sums of outer products of one side, and their eigenvectors."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from proponent.chunking import chunks
from proponent.features.gradients.factors import Factor, Term
from proponent.features.gradients.per_parameter import temporary
from proponent.memory_budget import MIB

MAX_SIDE = 4096
"""Width of the largest factor that is diagonalised; a wider side keeps its own axes (its factor taken as diagonal)."""


def is_diagonalised(width: int) -> bool:
    """Return whether a side of this width gets eigenvectors."""
    return width <= MAX_SIDE


def factors_mib(shapes: Iterable[tuple[int, ...]], itemsize: int) -> float:
    """Return the memory of the factors and eigenvectors of all layers, in MiB.

    Args:
        shapes: shapes of the parameters; a bias shares the factors of its weight.
        itemsize: bytes of a number.
    """
    sides: list[int] = []
    for shape in shapes:
        if len(shape) > 1:
            sides += [shape[0], math.prod(shape[1:]) + 1]
        elif math.prod(shape) not in sides[-2:-1]:
            sides.append(math.prod(shape))
    squares = [side**2 for side in sides if is_diagonalised(side)]
    # LAPACK's syevd takes and returns double precision, and works in twice as much.
    return (2 * itemsize * sum(squares) + 4 * 8 * max(squares, default=0)) / MIB


@dataclass(frozen=True)
class SideBasis:
    """Eigenvectors and eigenvalues of a factor.

    Attributes:
        vectors: (width, width) eigenvectors in columns; None for a side that keeps its own axes.
        values: (width,) eigenvalues.
    """

    vectors: Tensor | None
    values: Tensor

    def to_eigenbasis(self, factor: Factor, start: int, with_ones: bool, dtype: torch.dtype) -> Tensor:
        """Return a factor (n, positions, its width) in the eigenbasis (n, positions, width)."""
        width = len(self.values)
        if factor.tokens and self.vectors is not None:
            return self.vectors[factor.values + start]
        values = _with_ones(factor.dense(dtype), with_ones)
        if self.vectors is None:
            return F.pad(values, (start, width - start - values.shape[2]))
        return values @ self.vectors[start : start + values.shape[2]]


@dataclass(frozen=True)
class RootUse:
    """A use of a layer's weight in rows of a root of the GGN.

    Attributes:
        term: outer products of the rows.
        repeats: rows per example, next to each other; they share the input.
        input_is_left: whether the left side is the input, and the right one the gradient of the output.
    """

    term: Term
    repeats: int
    input_is_left: bool

    @property
    def left(self) -> Factor:
        """Left side, one row per example if it is the input."""
        return self.term.left[:: self.repeats] if self.input_is_left else self.term.left

    @property
    def right(self) -> Factor:
        """Right side, one row per example if it is the input."""
        return self.term.right if self.input_is_left else self.term.right[:: self.repeats]

    def counted_positions(self) -> Tensor | None:
        """Return which positions of the examples count, (n, positions); None if all of them do.

        A position whose output gradients are exactly zero adds nothing to the gradient of its example, such as padding
        under an attention mask. Its input does not count, so that padding changes no factor. The positions of
        convolutions always count, as published, and those of an example without any gradient.
        """
        left, right = self.term.left, self.term.right
        if left.geometry is not None or right.geometry is not None or self.term.positions == 1:
            return None
        outputs = right if self.input_is_left else left
        found = (outputs.values != 0).any(2).unflatten(0, (-1, self.repeats)).any(1)
        found |= ~found.any(1, keepdim=True)
        return None if bool(found.all()) else found

    def n_positions(self, counted: Tensor | None) -> int:
        """Return the number of positions of all examples together that count."""
        n = len(self.term) // self.repeats
        return n * self.term.positions if counted is None else int(counted.sum())


class OuterProducts:
    """Weighted sum of the outer products of one side of a layer.

    Args:
        width: width of the side.
        like: ``dtype`` and ``device`` of the sum.
    """

    def __init__(self, width: int, like: dict[str, Any]) -> None:
        self.square = is_diagonalised(width)
        self.total = torch.zeros((width, width) if self.square else (width,), **like)
        self.only_tokens = True

    def add(
        self, factor: Factor, weight: float, start: int, with_ones: bool, counted: Tensor | None = None
    ) -> None:
        """Add the outer products of vectors.

        Args:
            factor: vectors, (n, positions, width).
            weight: weight of all of them.
            start: row and column of the sum at which they begin.
            with_ones: whether a one is appended to each vector.
            counted: (n, positions) which of them are added; None for all.
        """
        if factor.tokens:
            tokens = factor.values.flatten() if counted is None else factor.values[counted]
            counts = torch.bincount(tokens, minlength=factor.tokens)
            diagonal = self.total.diagonal() if self.square else self.total
            diagonal[start : start + factor.tokens] += weight * counts.to(diagonal)
            return
        self.only_tokens = False
        for rows in chunks(len(factor), temporary(self.total.dtype) // (factor.positions * factor.width)):
            values = factor[rows].dense(self.total.dtype)
            values = values if counted is None else values[counted[rows]][None]
            self._add_values(values, weight, start)
            if with_ones:
                self._add_ones(values, weight, start)

    def _add_values(self, values: Tensor, weight: float, start: int) -> None:
        across = slice(start, start + values.shape[2])
        if not self.square:
            self.total[across] += weight * values.square().sum((0, 1))
        elif values.stride(1) < values.stride(2) and values.shape[2] <= values.shape[1]:  # without a copy
            self.total[across, across] += weight * torch.bmm(values.mT, values).sum(0)
        else:
            flat = values.flatten(0, 1)
            self.total[across, across].addmm_(flat.T, flat, alpha=weight)

    def _add_ones(self, values: Tensor, weight: float, start: int) -> None:
        """Add the outer products of the ones with the vectors and with themselves."""
        last = start + values.shape[2]
        count = weight * values.shape[0] * values.shape[1]
        if not self.square:
            self.total[last] += count
            return
        sums = weight * values.sum((0, 1))
        self.total[start:last, last] += sums
        self.total[last, start:last] += sums
        self.total[last, last] += count

    def scale(self, by: Tensor) -> None:
        """Multiply the summed vectors by ``by`` (width,), after the fact."""
        self.total *= torch.outer(by, by) if self.square else by.square()

    def diagonalise(self) -> SideBasis:
        """Return eigenvalues and eigenvectors, computed in double precision; one-hot rows are orthogonal already."""
        if not self.square:
            return SideBasis(None, self.total)
        if self.only_tokens:
            return SideBasis(None, self.total.diagonal().clone())
        values, vectors = torch.linalg.eigh(self.total.double())
        return SideBasis(vectors.to(self.total.dtype), values.clamp_min(0).to(self.total.dtype))


def _with_ones(values: Tensor, wanted: bool) -> Tensor:
    return torch.cat([values, values.new_ones(*values.shape[:2], 1)], 2) if wanted else values

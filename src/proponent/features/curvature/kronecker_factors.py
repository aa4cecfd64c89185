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
from proponent.features.gradients.factors import Factor
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

    def add(self, factor: Factor, weight: float, start: int, with_ones: bool) -> None:
        """Add the outer products of all positions, times ``weight``, from row ``start`` on."""
        if factor.tokens:
            counts = torch.bincount(factor.values.flatten(), minlength=factor.tokens)
            diagonal = self.total.diagonal() if self.square else self.total
            diagonal[start : start + factor.tokens] += weight * counts.to(diagonal)
            return
        self.only_tokens = False
        for rows in chunks(len(factor), temporary(self.total.dtype) // (factor.positions * factor.width)):
            values = _with_ones(factor[rows].dense(self.total.dtype), with_ones).flatten(0, 1)
            across = slice(start, start + values.shape[1])
            if self.square:
                self.total[across, across].addmm_(values.T, values, alpha=weight)
            else:
                self.total[across] += weight * values.square().sum(0)

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

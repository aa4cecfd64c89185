"""Projections of a layer's gradient from both sides, and random choices of coordinates.

The gradient of one example with respect to a weight is ``G = sum_t l_t r_tᵀ``, with a last column for its bias.
Projected from both sides it is ``P_l G P_rᵀ = sum_t (P_l l_t) (P_r r_t)ᵀ``, with side x side elements: the projection
by ``P_l ⊗ P_r``, for which the gradient itself is never formed (LoGra, Choe et al. 2024). Kinds:

- ``gaussian``: independent normals over sqrt(side);
- ``mask``: ``side`` coordinates each of l and r, drawn without replacement, times sqrt(width / side) (FactGraSS,
  Hu et al. 2025).

A side of at most ``side`` dimensions is kept as it is. Inner products are unbiased over seeds. A parameter whose
gradients are written out is projected to side x side dimensions if it has more elements.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from proponent.chunking import chunks
from proponent.errors import UserError
from proponent.features.gradients.factors import Factor
from proponent.features.gradients.per_parameter import Part, RowsPart, WeightPart, temporary
from proponent.seeds import derive_seed

KINDS = ("gaussian", "mask")


@dataclass(frozen=True)
class _SideProjection:
    """Projection of vectors of one width by a matrix (width, k) or to the kept coordinates (k,); the identity if neither."""

    width: int
    matrix: Tensor | None = None
    kept: Tensor | None = None

    @property
    def size(self) -> int:
        """Number of dimensions after the projection."""
        if self.matrix is not None:
            return self.matrix.shape[1]
        return self.width if self.kept is None else len(self.kept)

    def apply(self, factor: Factor, start: int, with_ones: bool, dtype: torch.dtype) -> Tensor:
        """Return the projection (n, positions, k) of a factor whose first column is column ``start`` of the side."""
        if factor.tokens and self.matrix is not None:
            return self.matrix[factor.values + start]
        values = factor.dense(dtype)
        if with_ones:
            values = torch.cat([values, values.new_ones(*values.shape[:2], 1)], 2)
        if self.matrix is not None:
            return values @ self.matrix[start : start + values.shape[2]]
        return self.columns(F.pad(values, (start, self.width - start - values.shape[2])))

    def columns(self, values: Tensor) -> Tensor:
        """Return the projections (..., k) of vectors (..., width)."""
        if self.matrix is not None:
            return values @ self.matrix
        if self.kept is not None:
            return values[..., self.kept] * math.sqrt(self.width / len(self.kept))
        return values


def project_sides(part: Part, side: int, kind: str, seed: int, scale: Tensor | None) -> Tensor:
    """Return the gradients of a part projected from both sides, (n, k) with k at most side * side.

    Args:
        part: gradients of one weight (with its bias) or one other parameter.
        side: largest number of dimensions of each side.
        kind: kind of the projection, one of :data:`KINDS`.
        seed: seed of the whole projection; every parameter and side has draws of its own.
        scale: (rows, columns) factors that multiply each gradient first, which has to be written out for this;
            None for no factors.

    Raises:
        UserError: ``kind`` is not known.
    """
    if kind not in KINDS:
        raise UserError(f"projection kind {kind!r} of two sides is not known; use one of {', '.join(KINDS)}")
    if isinstance(part, RowsPart):
        values = part.values if scale is None else part.values * scale.flatten()
        return _side(values.shape[1], side * side, kind, seed, part.name, "rows", values).columns(values)
    left_term = part.terms[0].left
    like = part.terms[0].right.values if left_term.tokens else left_term.values
    left = _side(part.rows, side, kind, seed, part.name, "left", like)
    right = _side(part.columns + (part.bias is not None), side, kind, seed, part.name, "right", like)
    pieces = [like.new_zeros(0, left.size * right.size)]
    numbers = max(term.positions * (term.left.width + term.right.width) for term in part.terms)
    if scale is not None:
        numbers += 2 * scale.numel()
    for rows in chunks(len(part), temporary(part.dtype) // (2 * numbers)):
        some = part[rows]
        own = _factored(some, left, right) if scale is None else _written(some, left, right, scale)
        pieces.append(own.flatten(1))
    return torch.cat(pieces)


def _factored(part: WeightPart, left: _SideProjection, right: _SideProjection) -> Tensor:
    products = [
        left.apply(term.left, term.start, False, part.dtype).mT
        @ right.apply(term.right, 0, part.bias is not None, part.dtype)
        for term in part.terms
    ]
    return torch.stack(products).sum(0) if len(products) > 1 else products[0]


def _written(part: WeightPart, left: _SideProjection, right: _SideProjection, scale: Tensor) -> Tensor:
    written = part.write_out(0, part.rows)
    if part.bias is not None:
        written = torch.cat([written, part.bias_gradients()[..., None]], 2)
    return left.columns(right.columns(written * scale).mT).mT


def _side(width: int, k: int, kind: str, seed: int, name: str, which: str, like: Tensor) -> _SideProjection:
    if width <= k:
        return _SideProjection(width)
    generator = torch.Generator().manual_seed(derive_seed(seed, "sides", kind, name, which))
    if kind == "mask":
        return _SideProjection(width, kept=torch.randperm(width, generator=generator)[:k].to(like.device))
    return _SideProjection(width, torch.randn(width, k, generator=generator).to(like) / math.sqrt(k))


def coordinates(total: int, count: int, seed: int) -> Tensor:
    """Return ``count`` (at most all) of ``total`` coordinates, drawn without replacement, in ascending order."""
    if count >= total:
        return torch.arange(total)
    generator = torch.Generator().manual_seed(derive_seed(seed, "mask", total))
    return torch.randperm(total, generator=generator)[:count].sort().values


def gather_elements(part: Part, name: str, total: int, where: Tensor) -> Tensor:
    """Return some elements of one parameter's flattened gradients, (n, len(where)).

    Args:
        part: gradients of the parameter.
        name: name of the parameter.
        total: number of elements of the parameter.
        where: indices of the elements, ascending.
    """
    if isinstance(part, WeightPart) and name == part.name and _is_one_product(part):
        term = part.terms[0]
        return term.left.values[:, 0, where // part.columns] * term.right.values[:, 0, where % part.columns]
    found = [part.elements(name, 0, 0)]
    for some in chunks(total, temporary(part.dtype) // max(1, 2 * len(part))):
        inside = where[(where >= some.start) & (where < some.stop)]
        if len(inside):
            found.append(part.elements(name, some.start, some.stop)[:, inside - some.start])
    return torch.cat(found, 1)


def _is_one_product(part: WeightPart) -> bool:
    """Return whether each gradient is one outer product of plain values that covers all rows."""
    term = part.terms[0]
    plain = not (term.left.tokens or term.right.tokens or term.right.geometry)
    return len(part.terms) == 1 and plain and term.positions == 1 and term.left.width == part.rows

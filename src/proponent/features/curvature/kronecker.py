"""Kronecker-factored curvature: the eigenbasis of K-FAC, layer by layer, and EK-FAC's eigenvalues in it.

(Martens & Grosse 2015; convolutions and positions: Grosse & Martens 2016; eigenvalues: George et al. 2018.)

The gradient of one example by a layer's weight, its bias a last column, is ``G = sum_t l_t r_tᵀ`` over
positions t. With ``l`` and ``r`` taken for independent the block of the generalised Gauss-Newton matrix (GGN)
of the mean loss is ``S ⊗ A``,

    A = (1/n) sum_i sum_t r_t r_tᵀ,        S = (1/n) sum_i E[(1/T) sum_t l_t l_tᵀ]

where the expectation is over labels drawn from the model, and T counts positions. Of the two sides, one is
the layer's input and the other what came back to its output. In the eigenbasis ``(Q_S, Q_A)`` a gradient is
``Q_Sᵀ G Q_A``, K-FAC's eigenvalues are the products of those of S and A, and EK-FAC's the exact diagonal of
the block there, ``E[(Q_Sᵀ G Q_A)²]``.

Uses of one weight count as positions where their rows overlap (tied weights), and as layers of their own
where they do not (the projections inside attention). A parameter whose gradients are written out (norms,
positional embeddings, grouped kernels) is a layer with the one column 1: its factor S is its exact block. So
nothing is left out; a side with more than ``MAX_SIDE`` units keeps its own axes, and is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from proponent.features.gradients.block import FactoredGradients, parameter_spans
from proponent.features.gradients.factors import Factor, Term
from proponent.features.gradients.per_parameter import RowsPart, ranges, temporary

MAX_SIDE = 4096
"""Largest factor that is diagonalised; more units keep their own axes (their factor taken as diagonal)."""
Chunks = Callable[[], Iterable[tuple[FactoredGradients, float]]]
"""Brings the rows of a root of the GGN, some examples at a time, those of one example side by side, and how much they
count: the weights of several networks add up to 1."""


@dataclass(frozen=True)
class Layer:
    """One block of the curvature.

    Attributes:
        name: the parameter's, with its rows where only some are meant.
        part: place among the parts of a block of gradients.
        terms: which of the part's uses belong to it; empty for written-out gradients.
        start: first row of the weight.
        rows: of the weight.
        columns: of the weight, and one for a bias.
        bias: whether there is one.
    """

    name: str
    part: int
    terms: tuple[int, ...]
    start: int
    rows: int
    columns: int
    bias: bool

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return self.rows * self.columns


def layers_of(block: FactoredGradients) -> tuple[Layer, ...]:
    """Return the layers of a block: uses of a weight whose rows overlap belong together."""
    found: list[Layer] = []
    for index, part in enumerate(block.parts):
        if isinstance(part, RowsPart):
            found.append(Layer(part.name, index, (), 0, part.values.shape[1], 1, False))
            continue
        groups: list[tuple[int, int, tuple[int, ...]]] = []
        for use, term in sorted(enumerate(part.terms), key=lambda pair: pair[1].start):
            if groups and term.start < groups[-1][1]:
                start, stop, uses = groups.pop()
                groups.append((start, max(stop, term.stop), (*uses, use)))
            else:
                groups.append((term.start, term.stop, (use,)))
        columns = part.columns + (part.bias is not None)
        for start, stop, uses in groups:
            whole = (start, stop) == (0, part.rows)
            name = part.name if whole else f"{part.name}[{start}:{stop}]"
            found.append(Layer(name, index, uses, start, stop - start, columns, part.bias is not None))
    return tuple(found)


class KroneckerBasis:
    """The eigenbasis of K-FAC of one member at one checkpoint; see :class:`proponent.methods.shared.needs.KroneckerBasis`.

    Args:
        chunks: of the root; asked twice.
        sides: for each weight, in the order of its uses, which side of its outer products is the input.
        repeats: rows of the root of one example.
        n_train: number of examples.
        scale: (n_parameters,) with which gradients are multiplied first. The basis follows the Kronecker product nearest
            to it, the eigenvalues are exact.
    """

    def __init__(
        self,
        chunks: Chunks,
        sides: dict[str, tuple[str, ...]],
        repeats: int,
        n_train: int,
        scale: Tensor | None = None,
    ) -> None:
        self._sides, self._repeats, self._scale = sides, repeats, scale
        self.left, self.right = self._factors(chunks)
        self.spans = _spans(self.layers)
        self.approximated = tuple(
            layer.name for layer in self.layers if max(layer.rows, layer.columns) > MAX_SIDE
        )
        self.factored = torch.cat(
            [torch.outer(s.values, a.values).flatten() for s, a in zip(self.left, self.right, strict=True)]
        ).div_(n_train**2)
        self.eigenvalues = self._second_moments(chunks).div_(n_train)

    def rotate(self, block: FactoredGradients) -> RotatedGradients:
        """Return gradients of the same parameters in the eigenbasis."""
        return RotatedGradients(self, block)

    def to_eigenbasis(self, vectors: Tensor) -> Tensor:
        """Return the coordinates of vectors laid out as gradients are, (k, n_parameters) -> (k, coordinates)."""
        return self._turn(vectors, self.eigenvalues)

    def _turn(self, vectors: Tensor, like: Tensor) -> Tensor:
        out = vectors.new_empty(len(vectors), len(like))
        for index, span in enumerate(self.spans):
            out[:, span] = self._both_sides(self._matrix(vectors, index), index, inverse=False).flatten(1)
        return out

    def from_eigenbasis(self, coordinates: Tensor) -> Tensor:
        """Return the vectors with these coordinates, (k, coordinates) -> (k, n_parameters)."""
        size = max(span.stop for span in self._where.values())
        out = coordinates.new_zeros(len(coordinates), size)
        for index, (layer, span) in enumerate(zip(self.layers, self.spans, strict=True)):
            values = coordinates[:, span].reshape(-1, layer.rows, layer.columns)
            values = self._both_sides(values, index, inverse=True)
            for place, columns in self._places(index):
                out[:, place] = values[..., columns].flatten(1)
        return out

    def _matrix(self, vectors: Tensor, index: int) -> Tensor:
        """Return one layer's part of vectors, (k, rows, columns), its bias the last column."""
        layer = self.layers[index]
        parts = [vectors[:, place].reshape(len(vectors), layer.rows, -1) for place, _ in self._places(index)]
        return torch.cat(parts, 2)

    def _places(self, index: int) -> list[tuple[slice, slice]]:
        """Return where a layer's weight, and its bias, lie in a flattened gradient, and their columns."""
        layer = self.layers[index]
        width = layer.columns - layer.bias
        found = []
        for name, columns in zip(self._names[index], (slice(0, width), slice(width, None)), strict=False):
            each = 1 if columns.start else width
            first = self._where[name].start + layer.start * each
            found.append((slice(first, first + layer.rows * each), columns))
        return found

    def _both_sides(self, values: Tensor, index: int, inverse: bool) -> Tensor:
        left, right = self.left[index].vectors, self.right[index].vectors
        if left is not None:
            values = (left if inverse else left.T) @ values
        if right is not None:
            values = values @ (right.T if inverse else right)
        return values

    def layer_means(self, vector: Tensor) -> Tensor:
        """Return for every coordinate the mean of ``vector`` (n_parameters,) over its layer."""
        means = [self._matrix(vector[None], index).mean() for index in range(len(self.layers))]
        return torch.cat([mean.expand(layer.size) for mean, layer in zip(means, self.layers, strict=True)])

    def _factors(self, chunks: Chunks) -> tuple[list[_Side], list[_Side]]:
        self.layers: tuple[Layer, ...] = ()
        moments: list[tuple[_Moment, _Moment]] = []
        for root, weight in chunks():
            if not self.layers:
                self.layers = layers_of(root)
                self._where = parameter_spans(root.parameters)
                self._names = [root.parts[layer.part].names for layer in self.layers]
                like = {"dtype": root.dtype, "device": root.device}
                moments = [(_Moment(layer.rows, like), _Moment(layer.columns, like)) for layer in self.layers]
            for layer, (left, right) in zip(self.layers, moments, strict=True):
                uses = list(self._uses(root, layer))
                positions = sum(term.positions for term, _, _ in uses)
                for term, left_step, right_step in uses:
                    left.add(term.left[::left_step], weight / positions, term.start - layer.start, False)
                    right.add(term.right[::right_step], weight, 0, layer.bias)
        if self._scale is not None:
            for index, (left, right) in enumerate(moments):
                wanted = self._matrix(self._scale[None], index)[0]
                left.scale(wanted.mean(1) / wanted.mean().sqrt())
                right.scale(wanted.mean(0) / wanted.mean().sqrt())
        sides = [[moment.diagonalise() for moment in pair] for pair in moments]
        return [pair[0] for pair in sides], [pair[1] for pair in sides]

    def _uses(self, block: FactoredGradients, layer: Layer) -> Iterator[tuple[Term, int, int]]:
        """Yield the uses of a layer, and for each side how many rows of the root share its values."""
        part = block.parts[layer.part]
        if isinstance(part, RowsPart):
            ones = part.values.new_ones(len(part), 1, 1)
            yield Term(Factor(part.values[:, None]), Factor(ones)), 1, self._repeats
            return
        for use in layer.terms:
            is_left = self._sides[part.name][use] == "left"
            yield part.terms[use], self._repeats if is_left else 1, 1 if is_left else self._repeats

    def _second_moments(self, chunks: Chunks) -> Tensor:
        """Return the sums over the root's rows of the squared rotated gradients, of all layers."""
        if self._scale is not None:
            return self._scaled_second_moments(chunks, self._scale)
        totals = [self.factored.new_zeros(layer.rows, layer.columns) for layer in self.layers]
        for root, weight in chunks():
            for index, layer in enumerate(self.layers):
                if weight == 1:
                    self._add_squares(root, index, layer, totals[index])
                    continue
                squares = torch.zeros_like(totals[index])
                self._add_squares(root, index, layer, squares)
                totals[index].add_(squares, alpha=weight)
        return torch.cat([total.flatten() for total in totals])

    def _scaled_second_moments(self, chunks: Chunks, scale: Tensor) -> Tensor:
        total = torch.zeros_like(self.factored)
        for root, weight in chunks():
            for rows in ranges(len(root), temporary(root.dtype) // (3 * len(scale))):
                turned = self._turn(root.slice(rows).dense().mul_(scale), total)
                total.add_(turned.square_().sum(0), alpha=weight)
        return total

    def _add_squares(self, root: FactoredGradients, index: int, layer: Layer, total: Tensor) -> None:
        uses = list(self._uses(root, layer))
        term, left_step, right_step = uses[0]
        if len(uses) == 1 and term.positions == 1 and not term.left.tokens:
            # the rows of an example share one side, so that the squares of the other can be summed first
            left = self.left[index].turn(term.left[::left_step], 0, False, root.dtype).square()
            right = self.right[index].turn(term.right[::right_step], 0, layer.bias, root.dtype).square()
            left = left.reshape(-1, self._repeats // left_step, layer.rows).sum(1)
            right = right.reshape(-1, self._repeats // right_step, layer.columns).sum(1)
            total.addmm_(left.T, right)
            return
        if len(uses) == 1 and term.left.tokens and self.left[index].vectors is None:
            for rows in ranges(len(root), temporary(root.dtype) // (3 * term.positions * layer.columns)):
                self._add_token_squares(term[rows], index, layer, total)
            return
        for rows in ranges(len(root), temporary(root.dtype) // (2 * layer.size)):
            total += self.written(root.slice(rows), index).square_().sum(0)

    def _add_token_squares(self, term: Term, index: int, layer: Layer, total: Tensor) -> None:
        """The same for an embedding that keeps its tokens as axes: few of them occur in an example."""
        right = self.right[index].turn(term.right, 0, layer.bias, total.dtype)
        example = torch.arange(len(term), device=total.device)[:, None]
        pairs, where = torch.unique(example * layer.rows + term.left.values, return_inverse=True)
        sums = total.new_zeros(len(pairs), layer.columns)
        sums.index_add_(0, where.flatten(), right.flatten(0, 1))
        total.index_add_(0, pairs % layer.rows, sums.square_())

    def written(self, block: FactoredGradients, index: int) -> Tensor:
        """Return one layer's gradients in the eigenbasis, (n, rows, columns)."""
        layer, out = self.layers[index], None
        for term, _, _ in self._uses(block, layer):
            left = self.left[index].turn(term.left, term.start - layer.start, False, block.dtype)
            right = self.right[index].turn(term.right, 0, layer.bias, block.dtype)
            single = left.shape[1] == 1
            product = left[:, 0, :, None] * right[:, 0, None, :] if single else left.mT @ right
            out = product if out is None else out.add_(product)
        assert out is not None  # noqa: S101 -- every layer has a use
        return out


class RotatedGradients:
    """Gradients of n examples in an eigenbasis, written out only some examples at a time.

    Args:
        basis: to rotate into.
        block: exact gradients.
    """

    def __init__(self, basis: KroneckerBasis, block: FactoredGradients) -> None:
        self._basis, self._block = basis, block

    def __len__(self) -> int:
        return len(self._block)

    def dense(self) -> Tensor:
        """Return the coordinates, (n, number of coordinates)."""
        out = torch.zeros(
            len(self), len(self._basis.eigenvalues), dtype=self._block.dtype, device=self._block.device
        )
        for rows, span, values in self._written():
            out[rows, span] = values
        return out

    def inner_dense(self, vectors: Tensor) -> Tensor:
        """Return the inner products with each row of ``vectors``, (n, k)."""
        out = vectors.new_zeros(len(self), len(vectors))
        for rows, span, values in self._written():
            out[rows].addmm_(values, vectors[:, span].T)
        return out

    def squares_inner(self, vectors: Tensor) -> Tensor:
        """Return ``sum_p c_p² v_p`` of the coordinates c for each row v of ``vectors``, (n, k)."""
        out = vectors.new_zeros(len(self), len(vectors))
        for rows, span, values in self._written():
            out[rows].addmm_(values.square_(), vectors[:, span].T)
        return out

    def _written(self) -> Iterator[tuple[slice, slice, Tensor]]:
        for index, span in enumerate(self._basis.spans):
            step = temporary(self._block.dtype) // (2 * self._basis.layers[index].size)
            for rows in ranges(len(self), step):
                yield rows, span, self._basis.written(self._block.slice(rows), index).flatten(1)


@dataclass(frozen=True)
class _Side:
    """Eigenvectors (width, width) of a factor, or None where its own axes are kept, and its eigenvalues."""

    vectors: Tensor | None
    values: Tensor

    def turn(self, factor: Factor, start: int, with_ones: bool, dtype: torch.dtype) -> Tensor:
        """Return a factor (n, positions, its width) in the eigenbasis (n, positions, width)."""
        width = len(self.values)
        if factor.tokens and self.vectors is not None:
            return self.vectors[factor.values + start]
        values = _with_ones(factor.dense(dtype), with_ones)
        if self.vectors is None:
            return F.pad(values, (start, width - start - values.shape[2]))
        return values @ self.vectors[start : start + values.shape[2]]


class _Moment:
    """Sum of outer products of one side of a layer."""

    def __init__(self, width: int, like: dict[str, Any]) -> None:
        self.square = width <= MAX_SIDE
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
        for rows in ranges(len(factor), temporary(self.total.dtype) // (factor.positions * factor.width)):
            values = _with_ones(factor[rows].dense(self.total.dtype), with_ones).flatten(0, 1)
            across = slice(start, start + values.shape[1])
            if self.square:
                self.total[across, across].addmm_(values.T, values, alpha=weight)
            else:
                self.total[across] += weight * values.square().sum(0)

    def scale(self, by: Tensor) -> None:
        """Make it the sum of outer products of what was added times ``by`` (width,)."""
        self.total *= torch.outer(by, by) if self.square else by.square()

    def diagonalise(self) -> _Side:
        """Return eigenvectors, found in double precision, and eigenvalues; one-hot rows are orthogonal as they are."""
        if not self.square:
            return _Side(None, self.total)
        if self.only_tokens:
            return _Side(None, self.total.diagonal().clone())
        values, vectors = torch.linalg.eigh(self.total.double())
        return _Side(vectors.to(self.total.dtype), values.clamp_min(0).to(self.total.dtype))


def _with_ones(values: Tensor, wanted: bool) -> Tensor:
    return torch.cat([values, values.new_ones(*values.shape[:2], 1)], 2) if wanted else values


def _spans(layers: tuple[Layer, ...]) -> tuple[slice, ...]:
    spans, start = [], 0
    for layer in layers:
        spans.append(slice(start, start + layer.size))
        start += layer.size
    return tuple(spans)

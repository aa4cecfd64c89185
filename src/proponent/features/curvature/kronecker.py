"""Kronecker-factored curvature: the eigenbasis of K-FAC per layer, and EK-FAC's eigenvalues in it.

(Martens & Grosse 2015; convolutions and positions: Grosse & Martens 2016; eigenvalues: George et al. 2018.)

The gradient of one example with respect to a layer's weight, with the bias as the last column, is
``G = sum_t l_t r_tᵀ`` over positions t. If ``l`` and ``r`` are taken as independent, the block of the generalised
Gauss-Newton matrix (GGN) of the mean loss is ``S ⊗ A``,

    A = (1/n) sum_i sum_t r_t r_tᵀ,        S = (1/(n T)) sum_i E[sum_t l_t l_tᵀ]

where the expectation is over labels drawn from the model, and T is the mean number of positions of an example, without
padding (:meth:`.RootUse.counted_positions`). Of the two sides, one is the layer's input and the other the gradient of its
output. In the eigenbasis ``(Q_S, Q_A)`` a gradient is ``Q_Sᵀ G Q_A``. K-FAC's eigenvalues are the products of those of S
and A; EK-FAC's are the exact diagonal of the block in this basis, ``E[(Q_Sᵀ G Q_A)²]``.

Uses of one weight whose rows overlap (tied weights) count as positions; uses whose rows do not overlap (the projections
inside attention) are separate layers. A parameter whose gradients are written out (norms, positional embeddings, grouped
kernels) is a layer with a single column of ones, whose factor S is its exact block. So no parameter is left out; a side
with more than ``MAX_SIDE`` units keeps its own axes, and its layer is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from proponent.chunking import chunks
from proponent.features.curvature.diagonal_products import Sides, diagonal_inner, squares_inner
from proponent.features.curvature.kronecker_factors import OuterProducts, RootUse, SideBasis, is_diagonalised
from proponent.features.curvature.kronecker_layers import Layer, layer_spans, layers_of
from proponent.features.curvature.token_sums import TokenSums, token_sums
from proponent.features.gradients.factored_gradients import FactoredGradients
from proponent.features.gradients.factors import Factor, Term
from proponent.features.gradients.per_parameter import RowsPart, WeightPart, parameter_spans, temporary

Roots = Callable[[], Iterable[tuple[FactoredGradients, float]]]
"""Function that yields the rows of a root of the GGN, some examples at a time and those of one example next to each
other, with the weight of their network; the weights of all networks add up to 1."""


class KroneckerBasis:
    """Eigenbasis of K-FAC of one member at one checkpoint; see :class:`proponent.methods.shared.needs.KroneckerBasis`.

    Args:
        roots: function that yields the rows of a root of the GGN; called twice.
        sides: side of the outer products that is the input (``left`` or ``right``), per weight and use.
        repeats: rows of the root per example.
        n_train: number of examples.
        scale: (n_parameters,) factors that multiply gradients first; None for no factors. The basis uses the
            Kronecker product nearest to ``scale``, the eigenvalues are exact.
    """

    def __init__(
        self,
        roots: Roots,
        sides: dict[str, tuple[str, ...]],
        repeats: int,
        n_train: int,
        scale: Tensor | None = None,
    ) -> None:
        self._sides, self._repeats, self._scale = sides, repeats, scale
        self.left, self.right, positions = self._factors(roots)
        self.spans = layer_spans(self.layers)
        self.approximated = tuple(
            layer.name for layer in self.layers if not is_diagonalised(max(layer.rows, layer.columns))
        )
        products = [
            torch.outer(s.values, a.values).flatten().div_(n_train * count)
            for s, a, count in zip(self.left, self.right, positions, strict=True)
        ]
        self.factored = torch.cat(products)
        self.eigenvalues = self._second_moments(roots).div_(n_train)

    def rotate(self, block: FactoredGradients) -> RotatedGradients:
        """Return gradients of the same parameters in the eigenbasis."""
        return RotatedGradients(self, block)

    def to_eigenbasis(self, vectors: Tensor) -> Tensor:
        """Return the coordinates (k, coordinates) of vectors (k, n_parameters) laid out as gradients are."""
        return self._coordinates(vectors, self.eigenvalues)

    def _coordinates(self, vectors: Tensor, like: Tensor) -> Tensor:
        out = vectors.new_empty(len(vectors), len(like))
        for index, span in enumerate(self.spans):
            out[:, span] = self._both_sides(self._matrix(vectors, index), index, inverse=False).flatten(1)
        return out

    def from_eigenbasis(self, coordinates: Tensor) -> Tensor:
        """Return the vectors (k, n_parameters) with these coordinates (k, coordinates)."""
        size = max(span.stop for span in self._where.values())
        out = coordinates.new_zeros(len(coordinates), size)
        for index, (layer, span) in enumerate(zip(self.layers, self.spans, strict=True)):
            values = coordinates[:, span].reshape(-1, layer.rows, layer.columns)
            values = self._both_sides(values, index, inverse=True)
            for place, columns in self._places(index):
                out[:, place] = values[..., columns].flatten(1)
        return out

    def _matrix(self, vectors: Tensor, index: int) -> Tensor:
        """Return one layer's part of vectors, (k, rows, columns), with its bias as the last column."""
        layer = self.layers[index]
        parts = [vectors[:, place].reshape(len(vectors), layer.rows, -1) for place, _ in self._places(index)]
        return torch.cat(parts, 2)

    def _places(self, index: int) -> list[tuple[slice, slice]]:
        """Return, for a layer's weight and for its bias, their range in a flattened gradient and their columns."""
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

    def _factors(self, roots: Roots) -> tuple[list[SideBasis], list[SideBasis], list[float]]:
        """Return the bases of both sides, and the number of positions of all examples, for each layer."""
        self.layers: tuple[Layer, ...] = ()
        sums: list[tuple[OuterProducts, OuterProducts]] = []
        positions: list[float] = []
        for root, weight in roots():
            if not self.layers:
                self.layers = layers_of(root)
                self._where = parameter_spans(root.parameters)
                self._names = [root.parts[layer.part].names for layer in self.layers]
                like = {"dtype": root.dtype, "device": root.device}
                sums = [
                    (OuterProducts(layer.rows, like), OuterProducts(layer.columns, like))
                    for layer in self.layers
                ]
                positions = [0.0] * len(self.layers)
            for index, (layer, (left, right)) in enumerate(zip(self.layers, sums, strict=True)):
                for use in self._uses(root, layer):
                    counted = use.counted_positions()
                    of_left, of_right = (counted, None) if use.input_is_left else (None, counted)
                    left.add(use.left, weight, use.term.start - layer.start, False, of_left)
                    right.add(use.right, weight, 0, layer.bias, of_right)
                    positions[index] += weight * use.n_positions(counted)
        if self._scale is not None:
            for index, (left, right) in enumerate(sums):
                wanted = self._matrix(self._scale[None], index)[0]
                left.scale(wanted.mean(1) / wanted.mean().sqrt())
                right.scale(wanted.mean(0) / wanted.mean().sqrt())
        sides = [[side.diagonalise() for side in pair] for pair in sums]
        return [pair[0] for pair in sides], [pair[1] for pair in sides], positions

    def _uses(self, block: FactoredGradients, layer: Layer) -> Iterator[RootUse]:
        """Yield the uses of a layer in rows of a root."""
        part = block.parts[layer.part]
        if isinstance(part, RowsPart):
            ones = part.values.new_ones(len(part), 1, 1)
            yield RootUse(
                Term(Factor(part.values[:, None]), Factor(ones)), self._repeats, input_is_left=False
            )
            return
        for use in layer.terms:
            input_is_left = self._sides[part.name][use] == "left"
            yield RootUse(part.terms[use], self._repeats, input_is_left)

    def _second_moments(self, roots: Roots) -> Tensor:
        """Return the sums over the root's rows of the squared rotated gradients, of all layers."""
        if self._scale is not None:
            return self._scaled_second_moments(roots, self._scale)
        totals = [self.factored.new_zeros(layer.rows, layer.columns) for layer in self.layers]
        for root, weight in roots():
            for index, layer in enumerate(self.layers):
                if weight == 1:
                    self._add_squares(root, index, layer, totals[index])
                    continue
                squares = torch.zeros_like(totals[index])
                self._add_squares(root, index, layer, squares)
                totals[index].add_(squares, alpha=weight)
        return torch.cat([total.flatten() for total in totals])

    def _scaled_second_moments(self, roots: Roots, scale: Tensor) -> Tensor:
        total = torch.zeros_like(self.factored)
        for root, weight in roots():
            for rows in chunks(len(root), temporary(root.dtype) // (3 * len(scale))):
                rotated = self._coordinates(root.slice(rows).dense().mul_(scale), total)
                total.add_(rotated.square_().sum(0), alpha=weight)
        return total

    def _add_squares(self, root: FactoredGradients, index: int, layer: Layer, total: Tensor) -> None:
        use = next(self._uses(root, layer))
        if self.single_term(root, index) is not None:
            # The rows of an example share one side, so that the squares of the other one can be summed first.
            left = self.left[index].to_eigenbasis(use.left, 0, False, root.dtype).square()
            right = self.right[index].to_eigenbasis(use.right, 0, layer.bias, root.dtype).square()
            n = len(root) // self._repeats
            left = left.reshape(n, -1, layer.rows).sum(1)
            right = right.reshape(n, -1, layer.columns).sum(1)
            total.addmm_(left.T, right)
            return
        if self.embedding_term(root, index) is not None:
            for _, sums in self.token_sums(root, index):
                sums.add_squares(total)
            return
        repeats = 1 if use.input_is_left else self._repeats
        examples = temporary(root.dtype) // (2 * layer.size * self._repeats)
        for rows in chunks(len(root), max(1, examples) * self._repeats):
            total += self.layer_coordinates(root.slice(rows), index, repeats).square_().sum(0)

    def token_sums(self, block: FactoredGradients, index: int) -> Iterator[tuple[slice, TokenSums]]:
        """Yield the gradients of an embedding that keeps its tokens as axes, of some examples at a time."""
        layer, term = self.layers[index], self.embedding_term(block, index)
        assert term is not None  # noqa: S101 -- the caller asked
        for rows in chunks(len(term), temporary(block.dtype) // (3 * term.positions * layer.columns)):
            some = term[rows]
            right = self.right[index].to_eigenbasis(some.right, 0, layer.bias, block.dtype)
            yield rows, token_sums(some.left.values + some.start - layer.start, right)

    def embedding_term(self, block: FactoredGradients, index: int) -> Term | None:
        """Return the one use of an embedding that keeps its tokens as axes; None for other layers."""
        term, *others = (use.term for use in self._uses(block, self.layers[index]))
        return term if not others and self._keeps_tokens(term, index) else None

    def _keeps_tokens(self, term: Term, index: int) -> bool:
        return bool(term.left.tokens) and self.left[index].vectors is None

    def single_term(self, block: FactoredGradients, index: int) -> Term | None:
        """Return the one outer product that each of one layer's gradients consists of; None where there are several."""
        term, *others = (use.term for use in self._uses(block, self.layers[index]))
        return None if others or term.positions != 1 or term.left.tokens else term

    def layer_coordinates(self, block: FactoredGradients, index: int, repeats: int = 1) -> Tensor:
        """Return one layer's gradients in the eigenbasis, (n, rows, columns); ``repeats`` rows each share the right side."""
        layer, out = self.layers[index], None
        part = block.parts[layer.part]
        if isinstance(part, WeightPart) and self._sum_is_cheaper(part, layer):
            return self._both_sides(layer.gradients(part, repeats), index, inverse=False)
        for term in (use.term for use in self._uses(block, layer)):
            start = term.start - layer.start
            right = self.right[index].to_eigenbasis(term.right, 0, layer.bias, block.dtype)
            if self._keeps_tokens(term, index):
                product = token_sums(term.left.values + start, right).dense(layer.rows)
            else:
                left = self.left[index].to_eigenbasis(term.left, start, False, block.dtype)
                single = left.shape[1] == 1
                product = left[:, 0, :, None] * right[:, 0, None, :] if single else left.mT @ right
            out = product if out is None else out.add_(product)
        assert out is not None  # noqa: S101 -- every layer has a use
        return out

    def _sum_is_cheaper(self, part: WeightPart, layer: Layer) -> bool:
        """Return whether gradients are better summed over positions first, and then rotated."""
        terms = [part.terms[use] for use in layer.terms]
        if any(term.left.tokens for term in terms) or (layer.bias and len(terms) > 1):
            return False
        positions = sum(term.positions for term in terms)
        rows, columns = layer.rows, layer.columns
        return rows * columns * (rows + columns) < positions * (rows**2 + columns**2)


class RotatedGradients:
    """Gradients of n examples in an eigenbasis, written out for only some examples at a time.

    Args:
        basis: eigenbasis.
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
        for index, span in enumerate(self._basis.spans):
            for rows, values in self._written_out(index):
                out[rows, span] = values
        return out

    def inner(self, others: RotatedGradients, diagonal: Tensor) -> Tensor:
        """Return ``sum_p c_p d_p o_p`` with the coordinates o of other gradients and d (coordinates,), (n, len(others))."""
        out = diagonal.new_zeros(len(self), len(others))
        for index, span in enumerate(self._basis.spans):
            layer, own = self._basis.layers[index], diagonal[span]
            mine, theirs = self._sides(index), others._sides(index)
            if mine is not None and theirs is not None:
                out += diagonal_inner(mine, theirs, own.unflatten(0, (layer.rows, layer.columns)))
                continue
            scaled = torch.cat([values for _, values in self._written_out(index)]).mul_(own)
            if others.is_embedding(index):
                queries = scaled.unflatten(1, (layer.rows, layer.columns))
                for rows, sums in others.token_sums(index):
                    out[:, rows] += sums.inner(queries)
                continue
            for rows, values in others._written_out(index):
                out[:, rows].addmm_(scaled, values.T)
        return out

    def squares_inner(self, vectors: Tensor) -> Tensor:
        """Return ``sum_p c_p² v_p``, with coordinates c, for each row v of ``vectors`` (k, coordinates), (n, k)."""
        out = vectors.new_zeros(len(self), len(vectors))
        for index, span in enumerate(self._basis.spans):
            layer, sides = self._basis.layers[index], self._sides(index)
            if self.is_embedding(index):
                weights = vectors[:, span].unflatten(1, (layer.rows, layer.columns))
                for rows, sums in self.token_sums(index):
                    out[rows] += torch.stack([sums.squares_inner(row) for row in weights], 1)
                continue
            if sides is not None:
                for column, weights in enumerate(vectors[:, span].unflatten(1, (layer.rows, layer.columns))):
                    out[:, column] += squares_inner(sides, weights)
                continue
            for rows, values in self._written_out(index):
                out[rows].addmm_(values.square_(), vectors[:, span].T)
        return out

    def is_embedding(self, index: int) -> bool:
        """Return whether a layer is an embedding that keeps its tokens as axes."""
        return self._basis.embedding_term(self._block, index) is not None

    def token_sums(self, index: int) -> Iterator[tuple[slice, TokenSums]]:
        """Yield the gradients of such a layer, of some examples at a time."""
        return self._basis.token_sums(self._block, index)

    def _sides(self, index: int) -> Sides | None:
        """Return one layer's gradients as rotated outer products; None where they are sums of several ones."""
        term = self._basis.single_term(self._block, index)
        if term is None:
            return None
        layer, dtype = self._basis.layers[index], self._block.dtype
        left = self._basis.left[index].to_eigenbasis(term.left, term.start - layer.start, False, dtype)
        right = self._basis.right[index].to_eigenbasis(term.right, 0, layer.bias, dtype)
        return Sides(left[:, 0], right[:, 0])

    def _written_out(self, index: int) -> Iterator[tuple[slice, Tensor]]:
        """Yield one layer's coordinates, of some examples at a time."""
        for rows in chunks(len(self), temporary(self._block.dtype) // (2 * self._basis.layers[index].size)):
            yield rows, self._basis.layer_coordinates(self._block.slice(rows), index).flatten(1)

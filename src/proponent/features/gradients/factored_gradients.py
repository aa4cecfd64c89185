"""Exact gradients as factors: a matrix that is never written down unless a method asks for it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from proponent.chunking import chunks
from proponent.errors import UserError
from proponent.features.gradients.dense_gradients import DenseGradients
from proponent.features.gradients.per_parameter import (
    Parameters,
    Part,
    RowsPart,
    parameter_spans,
    symmetrize,
    temporary,
)
from proponent.features.gradients.projection import project_part
from proponent.features.gradients.two_sided_projection import coordinates, gather_elements, project_sides

if TYPE_CHECKING:
    from proponent.features.gradients.block import Block


class FactoredGradients:
    """Exact gradients of n examples, as factors.

    Args:
        parameters: shapes of the parameters by name, in the order of ``named_parameters()``.
        parts: gradients of one weight (with its bias) or of one other parameter each; the gradient of a
            parameter in no part is zero.
        last: names of the parameters of the last linear layer.
        size: number of examples.
    """

    def __init__(
        self, parameters: Parameters, parts: tuple[Part, ...], last: tuple[str, ...], size: int
    ) -> None:
        self.parameters = parameters
        self.parts = parts
        self.last = last
        self.size = size

    def __len__(self) -> int:
        return self.size

    @property
    def n_parameters(self) -> int:
        """Number of columns of :meth:`dense`."""
        return sum(map(math.prod, self.parameters.values()))

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the values."""
        return self.parts[0].dtype

    @property
    def device(self) -> torch.device:
        """Device of the values."""
        return self.parts[0].device

    def slice(self, rows: slice) -> FactoredGradients:
        """Return the gradients of a range of the examples, sharing memory."""
        parts = tuple(part[rows] for part in self.parts)
        return FactoredGradients(self.parameters, parts, self.last, len(range(self.size)[rows]))

    def inner(self, other: Block) -> Tensor:
        """Return all inner products with ``other``, (len(self), len(other)), exact up to rounding.

        Inner products with the block itself need only half of the work.
        """
        if isinstance(other, DenseGradients):
            return other.inner(self).T
        if list(self.parameters) != list(other.parameters):
            raise ValueError("these two blocks hold gradients of different parameters")
        out = self._zeros(len(other))
        for mine, theirs in zip(self.parts, other.parts, strict=True):
            mine.add_inner(cast(Any, theirs), out, symmetric=other is self)
        if other is self:
            symmetrize(out)
        return out

    def inner_dense(self, vectors: Tensor) -> Tensor:
        """Return the inner products with each row of ``vectors`` (k, n_parameters), (len(self), k)."""
        if vectors.shape[1] != self.n_parameters:
            raise ValueError(f"vectors have {vectors.shape[1]} columns, the gradients {self.n_parameters}")
        out = self._zeros(len(vectors))
        for columns, values in _columns_of(self):
            out.addmm_(values, vectors[:, columns].T)
        return out

    def mean_squares(self, weights: Tensor) -> Tensor:
        """Return ``(1/n) sum_i weights_i² g_i²``, (n_parameters,)."""
        out = torch.zeros(self.n_parameters, dtype=self.dtype, device=self.device)
        for columns, values in _columns_of(self):
            out[columns] = weights.square() @ values.square()
        return out / self.size

    def norms_squared(self) -> Tensor:
        """Return the squared norms, (len(self),)."""
        total = torch.zeros(len(self), dtype=self.dtype, device=self.device)
        for part in self.parts:
            total += part.norms_squared()
        return total

    def last_layer(self) -> FactoredGradients:
        """Return the same gradients restricted to the parameters of the last linear layer.

        If that layer's weight is tied to another one, all uses of the weight count.

        Raises:
            UserError: the model has no such layer.
        """
        if not self.last:
            raise UserError(
                "the model has no last linear layer whose weight is a parameter of its own: use all layers"
            )
        return self._restricted([part for part in self.parts if set(part.names) & set(self.last)], self.last)

    def embeddings(self) -> FactoredGradients:
        """Return the same gradients restricted to the tables of token embeddings.

        Raises:
            UserError: the model has no token embedding.
        """
        parts = [
            part
            for part in self.parts
            if not isinstance(part, RowsPart) and any(term.left.tokens for term in part.terms)
        ]
        if not parts:
            raise UserError("the model embeds no tokens, so it has no word embeddings: use all layers")
        return self._restricted(parts, ())

    def by_layer(self) -> list[FactoredGradients]:
        """Return one block per weight (with its bias) or other parameter."""
        return [
            self._restricted([part], tuple(name for name in self.last if name in part.names))
            for part in self.parts
        ]

    def project_sides(
        self, side: int, kind: str, seed: int, scale: Tensor | None = None
    ) -> list[DenseGradients]:
        """Return the gradients of each layer, projected from both sides (:mod:`.two_sided_projection`).

        Args:
            side: largest number of dimensions of each side.
            kind: ``gaussian`` or ``mask``.
            seed: seed of the projection; only blocks with the same seed, kind and side can be compared.
            scale: (n_parameters,) factors that multiply the entries of a gradient first; None for no factors.
        """
        found = []
        spans = parameter_spans(self.parameters)
        for part in self.parts:
            own = None
            if scale is not None:
                # (rows, columns) of the layer, with its bias as the last column
                own = torch.cat([scale[spans[name]].reshape(_rows(part), -1) for name in part.names], 1)
            values = project_sides(part, side, kind, seed, own)
            name = f"{part.name}-{kind}-{side}-{seed}"
            found.append(DenseGradients(values, {name: (values.shape[1],)}, ()))
        return found

    def mask(self, count: int, seed: int) -> DenseGradients:
        """Return ``count`` random coordinates (at most all) times sqrt(n_parameters / count)."""
        chosen = coordinates(self.n_parameters, count, seed).to(self.device)
        spans = parameter_spans(self.parameters)
        out = self._zeros(len(chosen))
        for part in self.parts:
            for name in part.names:
                inside = (chosen >= spans[name].start) & (chosen < spans[name].stop)
                total = spans[name].stop - spans[name].start
                out[:, inside] = gather_elements(part, name, total, chosen[inside] - spans[name].start)
        out *= math.sqrt(self.n_parameters / len(chosen))
        return DenseGradients(out, {f"mask-{len(chosen)}-{seed}": (len(chosen),)}, ())

    def project(self, dim: int, kind: str, seed: int) -> DenseGradients:
        """Return a seeded random projection; the last layer is kept exactly in addition.

        Args:
            dim: number of dimensions.
            kind: ``rademacher``, ``gaussian`` or ``sparse`` (see :mod:`.projection`).
            seed: seed of the projection; only blocks with the same seed, kind and dim can be compared.
        """
        out = self._zeros(dim)
        for part in self.parts:
            project_part(part, self.parameters, out, kind, seed)
        last = self.last_layer() if self.last else ()
        return DenseGradients(out, {f"{kind}-{dim}-{seed}": (dim,)}, last)

    def dense(self) -> Tensor:
        """Return the gradients as a matrix, (len(self), n_parameters)."""
        out = self._zeros(self.n_parameters)
        for columns, values in _columns_of(self):
            out[:, columns] = values
        return out

    def _zeros(self, columns: int) -> Tensor:
        return torch.zeros(len(self), columns, dtype=self.dtype, device=self.device)

    def _restricted(self, parts: Sequence[Part], last: tuple[str, ...]) -> FactoredGradients:
        """Return the gradients of some parts, with their parameters in the order of this block."""
        names = {name for part in parts for name in part.names}
        parameters = {name: shape for name, shape in self.parameters.items() if name in names}
        return FactoredGradients(parameters, tuple(parts), last, self.size)


def _columns_of(block: FactoredGradients) -> Iterator[tuple[slice, Tensor]]:
    """Yield ranges of the columns of :meth:`FactoredGradients.dense` and their values, as many as fit in a temporary."""
    spans = parameter_spans(block.parameters)
    for part in block.parts:
        for name in part.names:
            span = spans[name]
            for some in chunks(span.stop - span.start, temporary(block.dtype) // max(1, block.size)):
                columns = slice(span.start + some.start, span.start + some.stop)
                yield columns, part.elements(name, some.start, some.stop)


def _rows(part: Part) -> int:
    return 1 if isinstance(part, RowsPart) else part.rows

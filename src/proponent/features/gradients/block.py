"""Per-example gradients as a matrix that is never written down unless it has to be.

A block holds the gradients of n examples with respect to all trainable parameters, laid out in the order of
``module.named_parameters()``, each tied parameter once. :class:`FactoredGradients` keeps the two factors of
every weight and is exact; :class:`DenseGradients` is a plain matrix: written-out gradients, or their random
projection.

"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.features.gradients.factors import Factor, Term
from proponent.features.gradients.per_parameter import Part, RowsPart, ranges, temporary
from proponent.features.gradients.projection import project_part
from proponent.features.gradients.two_sided_projection import coordinates, picked, project_sides

Parameters = dict[str, tuple[int, ...]]
"""Shape of every trainable parameter, in the order in which gradients are laid out."""


def parameter_spans(parameters: Parameters) -> dict[str, slice]:
    """Return where each parameter lies in a flattened gradient."""
    spans, start = {}, 0
    for name, shape in parameters.items():
        spans[name] = slice(start, start + math.prod(shape))
        start += math.prod(shape)
    return spans


class FactoredGradients:
    """Exact gradients of n examples, as factors.

    Args:
        parameters: names and shapes, in the order of ``named_parameters()``.
        parts: each covers one weight (with its bias) or one other parameter. A parameter in no part has
            gradient zero.
        last: the parameters of the last linear layer.
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
        """Type of the numbers."""
        return self.parts[0].dtype

    @property
    def device(self) -> torch.device:
        """Where the numbers are."""
        return self.parts[0].device

    def slice(self, rows: slice) -> FactoredGradients:
        """Return the gradients of some of the examples, sharing memory."""
        parts = tuple(part[rows] for part in self.parts)
        return FactoredGradients(self.parameters, parts, self.last, len(range(self.size)[rows]))

    def inner(self, other: Block) -> Tensor:
        """Return all inner products with ``other``, (len(self), len(other)), exact to rounding.

        With itself only half of the products are computed.
        """
        if isinstance(other, DenseGradients):
            return other.inner(self).T
        if list(self.parameters) != list(other.parameters):
            raise ValueError("these two blocks hold gradients of different parameters")
        out = torch.zeros(len(self), len(other), dtype=self.dtype, device=self.device)
        for mine, theirs in zip(self.parts, other.parts, strict=True):
            mine.add_inner(cast(Any, theirs), out, symmetric=other is self)
        if other is self:
            mirror(out)
        return out

    def inner_dense(self, vectors: Tensor) -> Tensor:
        """Return the inner products with each row of ``vectors`` (k, n_parameters), (len(self), k)."""
        if vectors.shape[1] != self.n_parameters:
            raise ValueError(f"vectors have {vectors.shape[1]} columns, the gradients {self.n_parameters}")
        out = torch.zeros(len(self), len(vectors), dtype=self.dtype, device=self.device)
        spans = parameter_spans(self.parameters)
        for part in self.parts:
            for name in part.names:
                span = spans[name]
                for some in ranges(span.stop - span.start, temporary(self.dtype) // max(1, self.size)):
                    columns = vectors[:, span.start + some.start : span.start + some.stop]
                    out.addmm_(part.elements(name, some.start, some.stop), columns.T)
        return out

    def mean_squares(self, weights: Tensor) -> Tensor:
        """Return ``(1/n) sum_i weights_i² g_i²``, (n_parameters,)."""
        out = torch.zeros(self.n_parameters, dtype=self.dtype, device=self.device)
        spans = parameter_spans(self.parameters)
        for part in self.parts:
            for name in part.names:
                span = spans[name]
                for some in ranges(span.stop - span.start, temporary(self.dtype) // max(1, self.size)):
                    squares = part.elements(name, some.start, some.stop).square()
                    out[span.start + some.start : span.start + some.stop] = weights.square() @ squares
        return out / self.size

    def norms_squared(self) -> Tensor:
        """Return the squared norms, (len(self),)."""
        total = torch.zeros(len(self), dtype=self.dtype, device=self.device)
        for part in self.parts:
            total += part.norms_squared()
        return total

    def last_layer(self) -> FactoredGradients:
        """Return the same gradients restricted to the parameters of the last linear layer.

        Where that layer's weight is tied to another one, all uses of the weight count.

        Raises:
            UserError: there is no such layer.
        """
        if not self.last:
            raise UserError(
                "the model has no last linear layer whose weight is a parameter of its own: use all layers"
            )
        parts = tuple(part for part in self.parts if set(part.names) & set(self.last))
        names = {name for part in parts for name in part.names}
        parameters = {name: shape for name, shape in self.parameters.items() if name in names}
        return FactoredGradients(parameters, parts, self.last, self.size)

    def embeddings(self) -> FactoredGradients:
        """Return the same gradients restricted to the tables of token embeddings.

        Raises:
            UserError: there is none.
        """
        parts = tuple(
            part
            for part in self.parts
            if not isinstance(part, RowsPart) and any(term.left.tokens for term in part.terms)
        )
        if not parts:
            raise UserError("the model embeds no tokens: it has no word embeddings to look at")
        names = {name for part in parts for name in part.names}
        parameters = {name: shape for name, shape in self.parameters.items() if name in names}
        return FactoredGradients(parameters, parts, (), self.size)

    def by_layer(self) -> list[FactoredGradients]:
        """Return the gradients of each weight (with its bias) or other parameter by themselves."""
        found = []
        for part in self.parts:
            parameters = {name: self.parameters[name] for name in self.parameters if name in part.names}
            last = tuple(name for name in self.last if name in parameters)
            found.append(FactoredGradients(parameters, (part,), last, self.size))
        return found

    def project_sides(
        self, side: int, kind: str, seed: int, scale: Tensor | None = None
    ) -> list[DenseGradients]:
        """Return the gradients of each layer, projected from both sides (see :mod:`proponent.features.gradients.two_sided_projection`).

        Args:
            side: dimensions of each side, at most.
            kind: ``gaussian`` or ``mask``.
            seed: blocks projected with the same seed, kind and side can be compared.
            scale: (n_parameters,) what each entry of a gradient is multiplied with first.
        """
        found = []
        spans = parameter_spans(self.parameters)
        for part in self.parts:
            own = None
            if scale is not None:
                # the layer's rows side by side, its bias as the last column
                own = torch.cat([scale[spans[name]].reshape(_rows(part), -1) for name in part.names], 1)
            values = project_sides(part, side, kind, seed, own)
            name = f"{part.name}-{kind}-{side}-{seed}"
            found.append(DenseGradients(values, {name: (values.shape[1],)}, ()))
        return found

    def mask(self, count: int, seed: int) -> DenseGradients:
        """Return ``count`` random coordinates, times the root of how many there are for each; all if there are no more."""
        chosen = coordinates(self.n_parameters, count, seed).to(self.device)
        spans = parameter_spans(self.parameters)
        out = torch.zeros(len(self), len(chosen), dtype=self.dtype, device=self.device)
        for part in self.parts:
            for name in part.names:
                inside = (chosen >= spans[name].start) & (chosen < spans[name].stop)
                total = spans[name].stop - spans[name].start
                out[:, inside] = picked(part, name, total, chosen[inside] - spans[name].start)
        out *= math.sqrt(self.n_parameters / len(chosen))
        return DenseGradients(out, {f"mask-{len(chosen)}-{seed}": (len(chosen),)}, ())

    def project(self, dim: int, kind: str, seed: int) -> DenseGradients:
        """Return a seeded random projection to ``dim`` dimensions, with the last layer kept exact beside it.

        Args:
            dim: dimensions.
            kind: ``rademacher``, ``gaussian`` or ``sparse`` (see :mod:`proponent.features.gradients.projection`).
            seed: blocks projected with the same seed, kind and dim can be compared.
        """
        out = torch.zeros(len(self), dim, dtype=self.dtype, device=self.device)
        for part in self.parts:
            project_part(part, self.parameters, out, kind, seed)
        beside = self.last_layer() if self.last else ()
        return DenseGradients(out, {f"{kind}-{dim}-{seed}": (dim,)}, beside)

    def dense(self) -> Tensor:
        """Return the gradients as a matrix, (len(self), n_parameters)."""
        out = torch.zeros(len(self), self.n_parameters, dtype=self.dtype, device=self.device)
        spans = parameter_spans(self.parameters)
        for part in self.parts:
            for name in part.names:
                span = spans[name]
                for some in ranges(span.stop - span.start, temporary(self.dtype) // max(1, self.size)):
                    columns = slice(span.start + some.start, span.start + some.stop)
                    out[:, columns] = part.elements(name, some.start, some.stop)
        return out

    @staticmethod
    def concatenate(blocks: Sequence[FactoredGradients]) -> FactoredGradients:
        """Return the gradients of several runs of examples as one block; what they share stays shared."""
        first = blocks[0]
        joined: dict[tuple[Any, ...], Tensor] = {}

        def join(factors: list[Factor]) -> Factor:
            pieces = [factor.values for factor in factors]
            key = tuple((piece.data_ptr(), piece.shape, piece.stride()) for piece in pieces)
            if key not in joined:
                joined[key] = torch.cat(pieces)
            return replace(factors[0], values=joined[key])

        parts: list[Part] = []
        for index, part in enumerate(first.parts):
            same: list[Any] = [block.parts[index] for block in blocks]
            if isinstance(part, RowsPart):
                parts.append(replace(part, values=torch.cat([piece.values for piece in same])))
                continue
            uses = [[piece.terms[use] for piece in same] for use in range(len(part.terms))]
            terms = tuple(
                Term(join([u.left for u in use]), join([u.right for u in use]), use[0].start) for use in uses
            )
            parts.append(replace(part, terms=terms))
        return FactoredGradients(first.parameters, tuple(parts), first.last, sum(map(len, blocks)))


class DenseGradients:
    """Gradients, or their projection, as a plain matrix.

    Args:
        values: (n, columns).
        parameters: what the columns are: shapes of the parameters, or one entry that names the projection.
        last: the gradients of the last linear layer, where they are kept beside a projection; or its
            parameters' names.
    """

    def __init__(
        self, values: Tensor, parameters: Parameters, last: FactoredGradients | tuple[str, ...]
    ) -> None:
        self.values = values
        self.parameters = parameters
        self.last = last

    def __len__(self) -> int:
        return len(self.values)

    @property
    def n_parameters(self) -> int:
        """Number of columns."""
        return self.values.shape[1]

    def slice(self, rows: slice) -> DenseGradients:
        """Return the gradients of some of the examples, sharing memory."""
        last = self.last if isinstance(self.last, tuple) else self.last.slice(rows)
        return DenseGradients(self.values[rows], self.parameters, last)

    def inner(self, other: Block) -> Tensor:
        """Return all inner products with ``other``, (len(self), len(other))."""
        if list(self.parameters) != list(other.parameters):
            raise ValueError(f"cannot compare {_space(self.parameters)} with {_space(other.parameters)}")
        if isinstance(other, FactoredGradients):
            return other.inner_dense(self.values).T
        return self.inner_dense(other.values)

    def inner_dense(self, vectors: Tensor) -> Tensor:
        """Return the inner products with each row of ``vectors`` (k, columns), (len(self), k)."""
        return self.values @ vectors.T

    def mean_squares(self, weights: Tensor) -> Tensor:
        """Return ``(1/n) sum_i weights_i² g_i²``, (columns,)."""
        return weights.square() @ self.values.square() / len(self)

    def norms_squared(self) -> Tensor:
        """Return the squared norms, (len(self),)."""
        return self.values.square().sum(1)

    def last_layer(self) -> Block:
        """Return the same gradients restricted to the last linear layer; exact beside a projection."""
        if isinstance(self.last, FactoredGradients):
            return self.last
        if not any(name in self.parameters for name in self.last):
            raise UserError(
                "the last linear layer's gradients are not kept beside this projection: use all layers"
            )
        spans = parameter_spans(self.parameters)
        columns = torch.cat([self.values[:, spans[name]] for name in self.parameters if name in self.last], 1)
        kept = {name: shape for name, shape in self.parameters.items() if name in self.last}
        return DenseGradients(columns, kept, self.last)

    def by_layer(self) -> list[DenseGradients]:
        """Return the gradients of each parameter by themselves; a projection, which mixes them, is one."""
        return [
            DenseGradients(self.values[:, span], {name: self.parameters[name]}, ())
            for name, span in parameter_spans(self.parameters).items()
        ]

    def project_sides(
        self, side: int, kind: str, seed: int, scale: Tensor | None = None
    ) -> list[DenseGradients]:
        """Refuse: what is written out has no sides.

        Raises:
            UserError: always.
        """
        raise UserError(
            "these gradients are written out or projected, and have no two sides to project: raise "
            "compute.memory_mib so that their factors fit, or use a method that needs no sides (trak)"
        )

    def embeddings(self) -> DenseGradients:
        """Refuse: what is written out does not say which columns are of word embeddings.

        Raises:
            UserError: always.
        """
        raise UserError(
            "these gradients are written out or projected, and do not say which are of word embeddings: use all layers"
        )

    def mask(self, count: int, seed: int) -> DenseGradients:
        """Return ``count`` random columns, times the root of how many there are for each; all if there are no more."""
        chosen = coordinates(self.n_parameters, count, seed).to(self.values.device)
        values = self.values[:, chosen] * math.sqrt(self.n_parameters / len(chosen))
        return DenseGradients(values, {f"mask-{len(chosen)}-{seed}": (len(chosen),)}, ())

    def project(self, dim: int, kind: str, seed: int) -> DenseGradients:
        """Return a seeded random projection to ``dim`` dimensions; of a projection, a further one."""
        out = torch.zeros(len(self), dim, dtype=self.values.dtype, device=self.values.device)
        for name, span in parameter_spans(self.parameters).items():
            project_part(RowsPart(name, self.values[:, span]), self.parameters, out, kind, seed)
        return DenseGradients(out, {f"{kind}-{dim}-{seed}": (dim,)}, self.last)

    def dense(self) -> Tensor:
        """Return the matrix, (len(self), columns)."""
        return self.values

    @staticmethod
    def concatenate(blocks: Sequence[DenseGradients]) -> DenseGradients:
        """Return the gradients of several runs of examples as one block."""
        first, lasts = blocks[0], [block.last for block in blocks]
        beside = [last for last in lasts if isinstance(last, FactoredGradients)]
        last = FactoredGradients.concatenate(beside) if beside else first.last
        return DenseGradients(torch.cat([block.values for block in blocks]), first.parameters, last)


Block = FactoredGradients | DenseGradients


def _rows(part: Part) -> int:
    return 1 if isinstance(part, RowsPart) else part.rows


def _space(parameters: Parameters) -> str:
    return (
        f"gradients of {len(parameters)} parameters"
        if len(parameters) > 1
        else next(iter(parameters), "nothing")
    )


def mirror(out: Tensor) -> None:
    """Copy the lower triangle to the upper one, in blocks that stay in cache."""
    for rows in ranges(len(out), 512):
        square = out[rows, rows]
        square.copy_(square.tril() + square.tril(-1).T)
        for others in ranges(rows.start, 512):
            out[others, rows] = out[rows, others].T

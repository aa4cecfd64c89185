"""Gradients as a plain matrix: written out, or their random projection."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.features.gradients.per_parameter import Parameters, RowsPart, parameter_spans
from proponent.features.gradients.projection import KINDS, project_part
from proponent.features.gradients.two_sided_projection import coordinates

if TYPE_CHECKING:  # factored gradients become dense ones by projection, so the import goes the other way
    from proponent.features.gradients.block import Block


class DenseGradients:
    """Gradients, or their projection, as a plain matrix.

    Args:
        values: (n, columns) gradients.
        parameters: meaning of the columns: shapes of the parameters, or one entry that names the projection.
        last: gradients of the last linear layer, exact or projected, if they are kept in addition to a projection; otherwise
            the names of its parameters.
    """

    def __init__(self, values: Tensor, parameters: Parameters, last: Block | tuple[str, ...]) -> None:
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
        """Return the gradients of a range of the examples, sharing memory."""
        last = self.last if isinstance(self.last, tuple) else self.last.slice(rows)
        return DenseGradients(self.values[rows], self.parameters, last)

    def inner(self, other: Block) -> Tensor:
        """Return all inner products with ``other``, (len(self), len(other))."""
        if list(self.parameters) != list(other.parameters):
            raise ValueError(f"cannot compare {_space(self.parameters)} with {_space(other.parameters)}")
        if isinstance(other, DenseGradients):
            return self.inner_dense(other.values)
        return other.inner_dense(self.values).T

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
        """Return the same gradients restricted to the last linear layer; of a projection, those that are kept with it.

        Raises:
            UserError: the last layer is not kept in addition to the projection.
        """
        if not isinstance(self.last, tuple):
            return self.last
        if not any(name in self.parameters for name in self.last):
            raise UserError(
                "this projection is stored without the gradients of the last linear layer: use all layers"
            )
        spans = parameter_spans(self.parameters)
        columns = torch.cat([self.values[:, spans[name]] for name in self.parameters if name in self.last], 1)
        kept = {name: shape for name, shape in self.parameters.items() if name in self.last}
        return DenseGradients(columns, kept, self.last)

    def by_layer(self) -> list[DenseGradients]:
        """Return one block per parameter; a projection, which mixes parameters, is one block."""
        return [
            DenseGradients(self.values[:, span], {name: self.parameters[name]}, ())
            for name, span in parameter_spans(self.parameters).items()
        ]

    def project_sides(
        self, side: int, kind: str, seed: int, scale: Tensor | None = None
    ) -> list[DenseGradients]:
        """Refuse: a written-out gradient has no two sides.

        Raises:
            UserError: always.
        """
        raise UserError(
            "these gradients are written out or projected, and have no two sides to project: raise "
            "compute.memory_mib so that their factors fit, or use a method that needs no sides (trak)"
        )

    def embeddings(self) -> DenseGradients:
        """Refuse: the columns of word embeddings are not known.

        Raises:
            UserError: always.
        """
        raise UserError(
            "these gradients are written out or projected, and the columns of word embeddings are not known: "
            "use all layers"
        )

    def mask(self, count: int, seed: int) -> DenseGradients:
        """Return ``count`` random columns (at most all) times sqrt(columns / count)."""
        chosen = coordinates(self.n_parameters, count, seed).to(self.values.device)
        values = self.values[:, chosen] * math.sqrt(self.n_parameters / len(chosen))
        return DenseGradients(values, {f"mask-{len(chosen)}-{seed}": (len(chosen),)}, ())

    def project(self, dim: int, kind: str, seed: int) -> DenseGradients:
        """Return a seeded random projection to ``dim`` dimensions; a projection is projected once more.

        Raises:
            UserError: the gradients are a projection to fewer dimensions.
        """
        if dim > self.n_parameters and _is_projection(self.parameters):
            raise UserError(
                f"a projection to {dim} dimensions is asked for, but the stored gradients are projected to "
                f"{self.n_parameters}: raise compute.memory_mib, or ask for at most {self.n_parameters} dimensions"
            )
        out = torch.zeros(len(self), dim, dtype=self.values.dtype, device=self.values.device)
        for name, span in parameter_spans(self.parameters).items():
            project_part(RowsPart(name, self.values[:, span]), self.parameters, out, kind, seed)
        return DenseGradients(out, {f"{kind}-{dim}-{seed}": (dim,)}, self.last)

    def project_last(self, dim: int, kind: str, seed: int) -> DenseGradients:
        """Return the same projection with a projection of the last layer in place of its exact gradients."""
        if isinstance(self.last, tuple):
            return self
        small = DenseGradients(
            self.last.project(dim, kind, seed).values, {f"{kind}-{dim}-{seed}": (dim,)}, ()
        )
        return DenseGradients(self.values, self.parameters, small)

    def dense(self) -> Tensor:
        """Return the matrix, (len(self), columns)."""
        return self.values


def _is_projection(parameters: Parameters) -> bool:
    """Return whether the columns are those of :meth:`DenseGradients.project`, by their name."""
    return len(parameters) == 1 and next(iter(parameters)).partition("-")[0] in KINDS


def _space(parameters: Parameters) -> str:
    return (
        f"gradients of {len(parameters)} parameters"
        if len(parameters) > 1
        else next(iter(parameters), "nothing")
    )

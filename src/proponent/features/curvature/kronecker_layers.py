"""Layers of the Kronecker-factored curvature: the uses of one weight whose rows overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from proponent.chunking import chunks
from proponent.features.gradients.factored_gradients import FactoredGradients
from proponent.features.gradients.factors import Term
from proponent.features.gradients.per_parameter import RowsPart, WeightPart, temporary


@dataclass(frozen=True)
class Layer:
    """One block of the curvature.

    Attributes:
        name: name of the parameter, with the range of its rows if the layer does not cover all of them.
        part: index among the parts of a block of gradients.
        terms: indices of the part's terms that belong to the layer; empty for written-out gradients.
        start: first row of the weight.
        rows: number of rows of the weight.
        columns: number of columns of the weight, plus one for a bias.
        bias: whether the layer has a bias.
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

    def gradients(self, part: WeightPart, repeats: int = 1) -> Tensor:
        """Return the gradients of the layer's weight, with those of its bias as the last column, (n, rows, columns).

        Args:
            part: gradients of the whole weight; of a layer with a bias, by one use.
            repeats: rows next to each other that share their input.
        """
        term = part.terms[self.terms[0]]
        if repeats > 1 and len(part.terms) == 1 and term.right.geometry is not None:
            weight = _written_out_together(term, repeats)
        else:
            weight = part.write_out(self.start, self.start + self.rows)
        return torch.cat([weight, term.left.values.sum(1)[:, :, None]], 2) if self.bias else weight


def _written_out_together(term: Term, repeats: int) -> Tensor:
    """Return the gradients of a convolution, (n, channels, columns), whose patches are unfolded once for all repeats."""
    found = []
    inputs = term.right[::repeats]
    for rows in chunks(len(inputs), temporary(term.dtype) // (term.positions * inputs.width)):
        left = term.left.values[rows.start * repeats : rows.stop * repeats].mT
        found.append(
            torch.bmm(left.unflatten(0, (-1, repeats)).flatten(1, 2), inputs[rows].dense(term.dtype))
        )
    return torch.cat(found).unflatten(1, (repeats, -1)).flatten(0, 1)


def layers_of(block: FactoredGradients) -> tuple[Layer, ...]:
    """Return the layers of a block; uses of a weight whose rows overlap are one layer."""
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


def layer_spans(layers: Sequence[Layer]) -> tuple[slice, ...]:
    """Return the range of each layer among the coordinates of all layers."""
    spans, start = [], 0
    for layer in layers:
        spans.append(slice(start, start + layer.size))
        start += layer.size
    return tuple(spans)

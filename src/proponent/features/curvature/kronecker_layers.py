"""Layers of the Kronecker-factored curvature: the uses of one weight whose rows overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proponent.features.gradients.factored_gradients import FactoredGradients
from proponent.features.gradients.per_parameter import RowsPart


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

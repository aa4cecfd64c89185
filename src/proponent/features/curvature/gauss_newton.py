"""Roots of the generalised Gauss-Newton matrix (GGN), and the matrix itself for plain linear layers."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count, islice

import torch
from torch import Tensor

from proponent.features.gradients.capture import Cotangents
from proponent.features.gradients.factored_gradients import FactoredGradients
from proponent.features.gradients.per_parameter import WeightPart, parameter_spans, symmetrize
from proponent.seeds import derive_seed
from proponent.settings.tasks import Task


def root_cotangents(task: Task) -> Cotangents:
    """Return the cotangents whose gradients are the rows of a root of the GGN, one per output."""

    def cotangents(outputs: Tensor, y: Tensor) -> Tensor:
        """Spread the blocks R of each position over the outputs, (n, positions * C, *outputs)."""
        root = task.output_hessian_root(outputs, y)
        n, size, classes = len(outputs), outputs[0].numel(), root.shape[-1]
        positions = torch.arange(size // classes, device=outputs.device)
        spread = outputs.new_zeros(n, len(positions), classes, len(positions), classes)
        spread[:, positions, :, positions] = root.reshape(n, -1, classes, classes).transpose(0, 1)
        return spread.reshape(n, size, *outputs.shape[1:])

    return cotangents


def sampled_cotangents(task: Task, samples: int, seed: int) -> Cotangents:
    """Return ``samples`` random combinations of the root's rows per example, with independent signs as weights.

    Their second moments are those of gradients for labels drawn from the model, whatever the task. The signs of a position
    depend on neither the number of positions after it, which may be padding, nor on how examples are grouped.

    Args:
        task: task that gives the Hessian with respect to the outputs.
        samples: combinations per example.
        seed: seed of the signs.
    """
    generator, examples = torch.Generator(), count()

    def cotangents(outputs: Tensor, y: Tensor) -> Tensor:
        """Combine the rows of each position's root with random signs, (n, samples, *outputs)."""
        own = list(islice(examples, len(outputs)))

        def draw(positions: int, size: int) -> Tensor:
            signs = outputs.new_empty(len(own), positions, samples, size)
            for row, example in zip(signs, own, strict=True):
                generator.manual_seed(derive_seed(seed, example))
                row.copy_(torch.randint(0, 2, row.shape, generator=generator)).mul_(2).sub_(1)
            return signs

        drawn = task.combined_root(outputs, y, draw).transpose(1, 2) / samples**0.5
        return drawn.reshape(len(outputs), samples, *outputs.shape[1:])

    return cotangents


class PlainLayers:
    """GGN of a model all of whose parameters belong to linear layers with one position per example.

    Pairs of output units share one product of inputs, and input columns that are zero on all examples (the rim of an
    image) are left out.

    Args:
        train: gradients of all training examples.
    """

    def __init__(self, train: FactoredGradients) -> None:
        self._train = train
        parts = [part for part in train.parts if isinstance(part, WeightPart)]
        self._inputs = [_input_columns(part) for part in parts]
        self._places = [_places(p, kept, train) for p, (_, kept) in zip(parts, self._inputs, strict=True)]
        self._units = [(layer, unit) for layer, part in enumerate(parts) for unit in range(part.rows)]

    @staticmethod
    def are_all_of(train: FactoredGradients) -> bool:
        """Return whether all parameters are weights, or biases of weights, used once and at one position per example."""
        plain = all(
            isinstance(part, WeightPart) and len(part.terms) == 1 and part.terms[0].positions == 1
            for part in train.parts
        )
        return plain and {name for part in train.parts for name in part.names} == set(train.parameters)

    def numbers_per_output(self, n_outputs: int) -> int:
        """Return the elements that :meth:`ggn` needs per example and output, in addition to the root."""
        width = len(self._units)
        return 2 * width + (width**2 + 2 * self._train.n_parameters) // n_outputs

    def ggn(self, roots: Iterable[tuple[slice, FactoredGradients]], n_outputs: int) -> Tensor:
        """Return ``(1/n) sum_i M_i[(l, o), (l', o')] a_i^l a_i^l'ᵀ`` with M_i the GGN of the layers' outputs.

        a^l is the input of layer l with a 1 for its bias, and (l, o) runs over the output units of all layers.

        Args:
            roots: ranges of examples with the rows of their root of the GGN.
            n_outputs: outputs of one example.
        """
        train, inputs, units = self._train, self._inputs, self._units
        first = [0]
        for layer, _ in units:
            first.append(first[-1] + len(inputs[layer][1]))
        packed = torch.zeros(first[-1], first[-1], dtype=train.dtype, device=train.device)
        for rows, root in roots:
            lefts = [part.terms[0].left.values[:, 0] for part in root.parts if isinstance(part, WeightPart)]
            back = torch.cat(lefts, 1).reshape(rows.stop - rows.start, n_outputs, -1)
            middle = back.mT @ back
            for at, (layer, _) in enumerate(units):
                right = _weighted_inputs(
                    middle[:, at, at:], units[at:], [columns[rows] for columns, _ in inputs]
                )
                packed[first[at] : first[at + 1], first[at] :].addmm_(inputs[layer][0][rows].T, right)
        symmetrize(packed.T)
        order = torch.cat([self._places[layer][unit] for layer, unit in units])
        size = train.n_parameters
        total = torch.zeros(size, size, dtype=packed.dtype, device=packed.device)
        total[order[:, None], order] = packed.div_(len(train))
        return total


def _input_columns(part: WeightPart) -> tuple[Tensor, Tensor]:
    """Return the inputs (n, kept) of a linear layer that are not zero on all examples, and their columns (kept,).

    The bias, if there is one, is the last column, of ones.
    """
    values = part.terms[0].right.values[:, 0]
    kept = values.any(0).nonzero()[:, 0]
    columns = values[:, kept]
    if part.bias is None:
        return columns, kept
    ones = columns.new_ones(len(columns), 1)
    return torch.cat([columns, ones], 1), torch.cat([kept, kept.new_tensor([part.columns])])


def _places(part: WeightPart, kept: Tensor, block: FactoredGradients) -> list[Tensor]:
    """Return, per output unit, the indices of its kept inputs in a flattened gradient."""
    where = parameter_spans(block.parameters)
    weights = [where[part.name].start + unit * part.columns + kept for unit in range(part.rows)]
    if part.bias is None:
        return weights
    start = where[part.bias].start
    return [torch.cat([row[:-1], row.new_tensor([start + unit])]) for unit, row in enumerate(weights)]


def _weighted_inputs(weights: Tensor, units: list[tuple[int, int]], inputs: list[Tensor]) -> Tensor:
    """Return each unit's inputs times its weight, next to each other: (n, sum of inputs)."""
    return torch.cat([inputs[layer] * weights[:, [at]] for at, (layer, _) in enumerate(units)], 1)

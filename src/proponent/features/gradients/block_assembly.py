"""Assembly of a block of gradients from the inputs and output gradients of the traced uses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from proponent.features.gradients.factored_gradients import FactoredGradients
from proponent.features.gradients.factors import Factor, Term
from proponent.features.gradients.operations import Use
from proponent.features.gradients.per_parameter import Parameters, Part, RowsPart, WeightPart


def assemble_block(
    parameters: Parameters,
    last: tuple[str, ...],
    uses: Sequence[Use],
    x: Mapping[str, Tensor],
    inputs: Mapping[int, Tensor],
    output_gradients: Sequence[Tensor],
    rows: Mapping[str, Tensor],
    repeats: int,
) -> FactoredGradients:
    """Return the gradients of n examples, ``repeats`` rows each, those of one example next to each other.

    Args:
        parameters: shapes of all trainable parameters by name.
        last: names of the parameters of the last linear layer.
        uses: traced uses of weights.
        x: (n, ...) inputs of the model by name.
        inputs: (n, ...) input of each use by its index; a use without one has an input of the model as its own.
        output_gradients: (n, repeats, ...) gradients of each use's output.
        rows: (n, repeats, ...) written-out gradients by the name of the parameter.
        repeats: gradients per example.
    """
    like = next(iter(x.values()))
    size = len(like) * repeats
    terms: dict[str, list[Term]] = {}
    biases: dict[str, list[tuple[int, Tensor]]] = {}
    for index, use in enumerate(uses):
        taken = _inputs(use, inputs[index] if use.from_x is None else x[use.from_x], repeats)
        back = _output_gradients(use, output_gradients[index].flatten(0, 1))
        if use.padding >= 0:
            back = back.masked_fill((taken.values == use.padding)[..., None], 0.0)
        plain = Factor(back)
        if use.bias is not None:
            biases.setdefault(use.bias, []).append((use.bias_start, back))
        if use.kind == "embedding":
            taken = replace(taken, tokens=parameters[use.weight][0])
        left, right = (plain, taken) if use.kind in ("linear", "conv") else (taken, plain)
        terms.setdefault(use.weight, []).append(Term(left, right, use.start))
    parts: list[Part] = []
    owned = _owned_biases(uses, parameters)
    for name, shape in parameters.items():
        if not math.prod(shape):
            continue
        if name in rows:
            parts.append(RowsPart(name, rows[name].reshape(size, -1)))
        elif name in terms:
            columns = math.prod(shape[1:])
            parts.append(WeightPart(name, shape[0], columns, tuple(terms[name]), owned.get(name)))
        elif name in biases and name not in owned.values():
            values = torch.zeros(size, shape[0], dtype=biases[name][0][1].dtype, device=like.device)
            for start, back in biases[name]:
                values[:, start : start + back.shape[2]] += back.sum(1)
            parts.append(RowsPart(name, values))
    return FactoredGradients(parameters, tuple(parts), last, size)


def _owned_biases(uses: Sequence[Use], parameters: Parameters) -> dict[str, str]:
    """Return the biases that serve a single use of a single weight: their input is the constant 1."""
    owned = {}
    for use in uses:
        alone = sum(use.weight == other.weight or use.bias == other.bias for other in uses) == 1
        if use.bias is not None and alone and use.kind in ("linear", "conv"):
            n_rows = parameters[use.weight][0]
            channels = use.output[-1] if use.kind == "linear" else n_rows
            if use.start == 0 and n_rows == channels:
                owned[use.weight] = use.bias
    return owned


def _inputs(use: Use, values: Tensor, repeats: int) -> Factor:
    """Return an operation's input (n, ...) as a factor of n * repeats rows."""
    n = len(values)
    if use.kind == "embedding":
        values = values.reshape(n, -1)
    elif use.geometry is not None:
        image = use.input[-1 - len(use.geometry.kernel) :]
        values = values.reshape(n, -1, *image)
    else:
        values = values.reshape(n, -1, use.input[-1])
    if repeats > 1:
        values = values.repeat_interleave(repeats, 0)
    return Factor(values, geometry=use.geometry, from_x=use.from_x if repeats == 1 else None)


def _output_gradients(use: Use, back: Tensor) -> Tensor:
    """Return the gradients of an operation's output as (n, positions, channels)."""
    if use.geometry is None:
        return back.reshape(len(back), -1, use.output[-1])
    dimensions = len(use.geometry.kernel)
    channels = use.output[-1 - dimensions]
    images = back.reshape(len(back), -1, channels, math.prod(use.output[-dimensions:]))
    return images.transpose(2, 3).flatten(1, 2).contiguous()

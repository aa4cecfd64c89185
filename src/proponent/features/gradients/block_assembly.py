"""Assembly of a block of gradients from the inputs and output gradients of the traced uses."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
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
    repeated = _Repeated(repeats)
    terms: dict[str, list[Term]] = {}
    biases: dict[str, list[tuple[int, Tensor]]] = {}
    for together in merged_uses(uses):
        pairs = []
        for index in together:
            use = uses[index]
            taken = inputs[index] if use.from_x is None else x[use.from_x]
            back = output_gradients[index].flatten(0, 1)
            pairs.append(_sides(use, taken, back, parameters, repeated))
        use = uses[together[0]]
        given, slope = (_joined(factors) for factors in zip(*pairs, strict=True))
        if use.bias is not None:
            biases.setdefault(use.bias, []).append((use.bias_start, _per_channel(slope)))
        left, right = (slope, given) if input_side(use) == "right" else (given, slope)
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
            for start, summed in biases[name]:
                values[:, start : start + summed.shape[1]] += summed
            parts.append(RowsPart(name, values))
    return FactoredGradients(parameters, tuple(parts), last, size)


def input_side(use: Use) -> str:
    """Return the side of the outer products that is the operation's input, ``left`` or ``right``.

    The rows of the weight of an embedding, of input @ weight and of a transposed convolution belong to the input.
    """
    return "right" if use.kind in ("linear", "conv") else "left"


def merged_uses(uses: Sequence[Use]) -> list[list[int]]:
    """Return the uses that become one term of a part, as groups of indices.

    Uses of a weight on plain values in the same rows, such as those of the positions of a recurrent layer, are one term with
    the positions of all of them: their inner products then take one matrix product instead of one per pair of uses.
    """
    groups: dict[Hashable, list[int]] = {}
    for index, use in enumerate(uses):
        key: Hashable = index
        if use.kind in ("linear", "matmul") and use.from_x is None:
            key = (use.weight, use.start, use.bias, use.bias_start, use.kind, use.input[-1], use.output[-1])
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def _owned_biases(uses: Sequence[Use], parameters: Parameters) -> dict[str, str]:
    """Return the biases that serve the single term of a single weight: their input is the constant 1."""
    owned = {}
    for together in merged_uses(uses):
        use = uses[together[0]]
        others = [other for index, other in enumerate(uses) if index not in together]
        alone = not any(use.weight == other.weight or use.bias == other.bias for other in others)
        if use.bias is not None and alone and use.kind in ("linear", "conv"):
            n_rows = parameters[use.weight][0]
            channels = use.output[-1] if use.kind == "linear" else n_rows
            if use.start == 0 and n_rows == channels:
                owned[use.weight] = use.bias
    return owned


class _Repeated:
    """Repeats the rows of tensors; what is the input of several uses is repeated once, and shared by them."""

    def __init__(self, repeats: int) -> None:
        self.repeats = repeats
        self._kept: dict[Hashable, tuple[Tensor, Tensor]] = {}

    def of(self, values: Tensor) -> Tensor:
        """Return values (n, ...) as (n * repeats, ...), those of one example next to each other."""
        if self.repeats == 1:
            return values
        key = (values.data_ptr(), values.shape, values.stride(), values.dtype)
        if key not in self._kept:  # with the tensor itself, so that no other one gets its memory
            self._kept[key] = values, values.repeat_interleave(self.repeats, 0)
        return self._kept[key][1]


def _sides(
    use: Use, values: Tensor, back: Tensor, parameters: Parameters, repeated: _Repeated
) -> tuple[Factor, Factor]:
    """Return the input (n, ...) and the output gradients (n * repeats, ...) of a use as factors of n * repeats rows."""
    if use.kind == "conv_transpose":
        taken, plain = Factor(_pixels(values, use.input, use)), _images(back, use.output, use)
    elif use.kind == "conv":
        taken, plain = _images(values, use.input, use), Factor(_pixels(back, use.output, use))
    elif use.kind == "embedding":
        tokens = values.reshape(len(values), -1)
        back = back.reshape(len(back), -1, use.output[-1])
        if use.padding >= 0:
            back = back.masked_fill((repeated.of(tokens) == use.padding)[..., None], 0.0)
        taken, plain = Factor(tokens, tokens=parameters[use.weight][0]), Factor(back)
    else:
        taken = Factor(values.reshape(len(values), -1, use.input[-1]))
        plain = Factor(back.reshape(len(back), -1, use.output[-1]))
    from_x = use.from_x if repeated.repeats == 1 and use.kind != "conv_transpose" else None
    return replace(taken, values=repeated.of(taken.values), from_x=from_x), plain


def _images(values: Tensor, shape: tuple[int, ...], use: Use) -> Factor:
    """Return values (n, ...) of a shape (..., channels, *spatial) as images (n, images, channels, *spatial)."""
    assert use.geometry is not None  # noqa: S101 -- a convolution
    image = shape[-1 - len(use.geometry.kernel) :]
    return Factor(values.reshape(len(values), -1, *image), geometry=use.geometry)


def _pixels(values: Tensor, shape: tuple[int, ...], use: Use) -> Tensor:
    """Return values (n, ...) of a shape (..., channels, *spatial) as (n, positions, channels), with their memory order."""
    assert use.geometry is not None  # noqa: S101 -- a convolution
    dimensions = len(use.geometry.kernel)
    channels = shape[-1 - dimensions]
    images = values.reshape(len(values), -1, channels, math.prod(shape[-dimensions:]))
    return images.transpose(2, 3).flatten(1, 2)


def _joined(factors: Sequence[Factor]) -> Factor:
    """Return the factors of several uses as one, with the positions of all of them."""
    if len(factors) == 1:
        return factors[0]
    return replace(factors[0], values=torch.cat([factor.values for factor in factors], 1))


def _per_channel(back: Factor) -> Tensor:
    """Return output gradients summed over positions, (n, channels)."""
    if back.geometry is None:
        return back.values.sum(1)
    return back.values.sum(1).flatten(2).sum(2)

"""Operations of torch written with others that ``torch.func`` can transform; results are the same up to rounding.

Each function has the signature of the one that it stands for. What is wrong with the originals (torch 2.13):

- ``prelu``: the gradient of its weight has a wrong shape and wrong values under nested ``vmap``;
- ``one_hot`` looks at the values of its input, except directly under ``vmap``;
- ``_weight_norm`` and ``embedding_bag`` have no derivative in forward mode, and the bag hides its lookup from a mode;
- ``rrelu`` has no rule for ``vmap``, even in eval mode, where it is a leaky ReLU;
- ``bilinear`` has no rule for ``vmap`` and hides its linear map from a mode;
- ``normalize`` with ``out``, as in spectral normalisation, has no rule for ``vmap``;
- ``lstm``, ``gru``, ``rnn_tanh``, ``rnn_relu`` and ``lstm_cell`` have no rule for ``vmap``, and the other cells hide their
  linear maps from a mode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from proponent.torch_failures import Unsupported

_one_hot, _normalize = F.one_hot, F.normalize
State = tuple[Tensor, ...]
Cell = Callable[[Tensor, Tensor, State], State]
"""Function from the transformed input and state of one position, and the state, to the next state."""


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """Return ``input`` where it is positive, elsewhere times the weight of all or of its channel (axis 1)."""
    one_per_channel = weight.numel() > 1 and input.ndim > 1
    channels = (-1, *(1,) * (input.ndim - 2)) if one_per_channel else (1,) * input.ndim
    return torch.where(input > 0, input, weight.reshape(channels) * input)


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return a linear map of all products of an element of ``input1`` and one of ``input2``, (..., outputs)."""
    products = (input1[..., :, None] * input2[..., None, :]).flatten(-2)
    return F.linear(products, weight.flatten(1), bias)


def rrelu(
    input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """Return ``input`` where it is positive, elsewhere times the mean slope; slopes of training are random."""
    if training:
        raise RuntimeError("rrelu is a random operation in training")
    return F.leaky_relu(input, (lower + upper) / 2, inplace)


def normalize(
    input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Tensor | None = None
) -> Tensor:
    """Return ``input`` over its norm along ``dim``, written to ``out`` if that is given."""
    found = _normalize(input, p, dim, eps)
    return found if out is None else out.copy_(found)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Return ones at the indices and zeros elsewhere, (..., num_classes)."""
    if num_classes < 0:
        return _one_hot(tensor, num_classes)
    return (tensor[..., None] == torch.arange(num_classes, device=tensor.device)).to(tensor.dtype)


def weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """Return ``v`` with the norms ``g`` along ``dim``."""
    return v * (g / torch.norm_except_dim(v, 2, dim))


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Return the sum, mean or maximum of the rows of each bag; bags are the rows of ``input`` (n, length).

    Raises:
        Unsupported: bags are given by offsets, or the options change the weight or rescale its gradient.
    """
    if offsets is not None or input.ndim != 2:
        raise Unsupported(
            "has the bags of several examples in one row (offsets); pass one row of tokens per example, padded with "
            "padding_idx"
        )
    if max_norm is not None or scale_grad_by_freq:
        raise Unsupported(
            "has no per-example gradient with max_norm or scale_grad_by_freq; leave these options out"
        )
    rows = F.embedding(input, weight)
    kept = torch.ones_like(input, dtype=torch.bool)
    if padding_idx is not None:
        kept = input != padding_idx % len(weight)
    if mode == "max":
        largest = rows.masked_fill(~kept[..., None], -torch.inf).max(1).values
        return torch.where(kept.any(1)[:, None], largest, 0.0)
    factors = kept.to(rows.dtype)
    if per_sample_weights is not None:
        factors = factors * per_sample_weights
    total = (rows * factors[..., None]).sum(1)
    return total if mode == "sum" else total / kept.sum(1).clamp_min(1)[:, None]


class WithoutTangent(torch.autograd.Function):
    """The identity, with a derivative in backward mode and none in forward mode."""

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor) -> Tensor:
        """Return the same values."""
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep nothing."""

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        """Return the gradient unchanged."""
        return slope

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        """Return zeros."""
        return torch.zeros_like(tangent)


def _lstm_cell(given: Tensor, recurrent: Tensor, state: State) -> State:
    add, keep, new, show = (given + recurrent).chunk(4, -1)
    memory = keep.sigmoid() * state[1] + add.sigmoid() * new.tanh()
    return show.sigmoid() * memory.tanh(), memory


def _gru_cell(given: Tensor, recurrent: Tensor, state: State) -> State:
    (reset, update, new), (old_reset, old_update, old) = given.chunk(3, -1), recurrent.chunk(3, -1)
    candidate = torch.tanh(new + torch.sigmoid(reset + old_reset) * old)
    share = torch.sigmoid(update + old_update)
    return ((1 - share) * candidate + share * state[0],)


def _unroll(
    cell: Cell,
    input: Tensor,
    state: State,
    weights: Sequence[Tensor],
    bias: bool,
    layers: int,
    dropout: float,
    training: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, ...]:
    """Return the outputs and final states of a recurrent layer of torch, one position after the other."""
    values = input.transpose(0, 1) if batch_first else input
    directions = 2 if bidirectional else 1
    size = len(weights) // (layers * directions)
    finals: list[State] = []
    for layer in range(layers):
        sides = []
        for direction in range(directions):
            index = layer * directions + direction
            own = weights[index * size : (index + 1) * size]
            biases = own[2:4] if bias else (None, None)
            projection = own[-1] if size % 2 else None
            # Indexing one position at a time would make its gradient a tensor of all positions.
            given = F.linear(values, own[0], biases[0]).unbind()
            now = tuple(part[index] for part in state)
            outputs: dict[int, Tensor] = {}
            positions = range(len(values))
            for position in reversed(positions) if direction else positions:
                now = cell(given[position], F.linear(now[0], own[1], biases[1]), now)
                if projection is not None:
                    now = (F.linear(now[0], projection), *now[1:])
                outputs[position] = now[0]
            finals.append(now)
            sides.append(torch.stack([outputs[position] for position in positions]))
        values = torch.cat(sides, -1)
        if layer < layers - 1:
            values = F.dropout(values, dropout, training)
    last = [torch.stack(parts) for parts in zip(*finals, strict=True)]
    return values.transpose(0, 1) if batch_first else values, *last


def _refuse_packed(weights: Any) -> None:
    """Refuse packed sequences, which torch passes with their batch sizes in the place of the hidden state."""
    if not isinstance(weights, list):
        raise Unsupported(
            "takes a packed sequence, whose layout depends on the other examples; pass padded "
            "sequences (n, length, width) and select the last position of each by its length"
        )


def _layer_by_layer(kernel: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor, ...]]:
    def run(
        input: Tensor,
        hidden: Any,
        weights: Any,
        bias: bool,
        layers: int,
        dropout: float,
        training: bool,
        bidirectional: bool,
        batch_first: bool,
    ) -> tuple[Tensor, ...]:
        """Run torch's kernel, once per layer if there is dropout between layers."""
        _refuse_packed(weights)
        if not training or dropout == 0 or layers == 1:
            return kernel(input, hidden, weights, bias, layers, 0.0, training, bidirectional, batch_first)
        values = input.transpose(0, 1) if batch_first else input
        directions, size = 2 if bidirectional else 1, len(weights) // layers
        finals: list[tuple[Tensor, ...]] = []
        for layer in range(layers):
            rows = slice(layer * directions, (layer + 1) * directions)
            own = hidden[rows] if isinstance(hidden, Tensor) else tuple(part[rows] for part in hidden)
            values, *final = kernel(
                values,
                own,
                weights[layer * size : (layer + 1) * size],
                bias,
                1,
                0.0,
                training,
                bidirectional,
                False,
            )
            finals.append(tuple(final))
            if layer < layers - 1:
                values = F.dropout(values, dropout, training)
        last = [torch.cat(parts) for parts in zip(*finals, strict=True)]
        return values.transpose(0, 1) if batch_first else values, *last

    return run


def _recurrent(cell: Cell) -> Callable[..., tuple[Tensor, ...]]:
    def run(input: Tensor, hidden: Any, weights: Any, *options: Any) -> tuple[Tensor, ...]:
        """Unroll the layer."""
        _refuse_packed(weights)
        state = (hidden,) if isinstance(hidden, Tensor) else tuple(hidden)
        return _unroll(cell, input, state, weights, *options)

    return run


def _single(cell: Cell) -> Callable[..., Any]:
    def run(
        input: Tensor,
        hidden: Any,
        input_weight: Tensor,
        hidden_weight: Tensor,
        input_bias: Tensor | None = None,
        hidden_bias: Tensor | None = None,
    ) -> Any:
        """Return the next state after one position, as a tensor if the state is one."""
        state = (hidden,) if isinstance(hidden, Tensor) else tuple(hidden)
        given = F.linear(input, input_weight, input_bias)
        found = cell(given, F.linear(state[0], hidden_weight, hidden_bias), state)
        return found[0] if isinstance(hidden, Tensor) else found

    return run


_CELLS: dict[str, Cell] = {
    "lstm": _lstm_cell,
    "gru": _gru_cell,
    "rnn_tanh": lambda given, recurrent, state: (torch.tanh(given + recurrent),),
    "rnn_relu": lambda given, recurrent, state: (torch.relu(given + recurrent),),
}
RECURRENT: dict[str, Callable[..., Any]] = {
    **{name: _recurrent(cell) for name, cell in _CELLS.items()},
    **{f"{name}_cell": _single(cell) for name, cell in _CELLS.items()},
}
"""Replacements of all recurrent layers, by their names in ``torch._VF``."""

LAYERED: dict[str, Callable[..., Any]] = {
    **{f"{name}_cell": getattr(torch._VF, f"{name}_cell") for name in _CELLS},
    **{name: _layer_by_layer(getattr(torch._VF, name)) for name in _CELLS},
}
"""Recurrent layers by torch's own kernels, by their names in ``torch._VF``, with dropout by ``F.dropout``."""

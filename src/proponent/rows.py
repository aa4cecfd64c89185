"""Inputs of a model, one row per example: one tensor, or several named tensors; and how a model is called with them.

A tensor is passed to the model as its only argument, the tensors of a tuple by position, and those of a dictionary by
keyword.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import register_pytree_node

SINGLE = "x"
"""Name under which inputs that are one tensor are stored."""
TOKENS, MASK = "input_ids", "attention_mask"
"""Names of token numbers, and of the mask that is 0 where they are padding, as in ``transformers``."""

_PASS_NUMBERS = 2**22
"""Elements of the inputs of a pass whose memory is not counted otherwise."""


class NamedRows:
    """Several tensors with one row per example, used as if they were one tensor.

    It is a pytree, so that the transformations of ``torch.func`` map over all of its tensors.

    Args:
        tensors: tensors by name, with the same number of rows.
        positional: whether a model takes the tensors by position, in the order of the names, and not by keyword.
    """

    def __init__(self, tensors: Mapping[str, Tensor], *, positional: bool = False) -> None:
        self.tensors = dict(tensors)
        self.positional = positional

    @property
    def device(self) -> torch.device:
        """Device of the tensors."""
        return next(iter(self.tensors.values())).device

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, rows: Any) -> NamedRows:
        """Return some rows: those of a slice, of a list or tensor of indices, or a single one without its first axis."""
        return self.map(lambda tensor: tensor[rows])

    def __repr__(self) -> str:
        parts = ", ".join(
            f"{name}: {value.dtype} {tuple(value.shape)}" for name, value in self.tensors.items()
        )
        return f"NamedRows({parts})"

    def to(self, device: str | torch.device) -> NamedRows:
        """Return the rows on a device; types are kept."""
        return self.map(lambda tensor: tensor.to(device))

    def clone(self) -> NamedRows:
        """Return a copy of all tensors."""
        return self.map(torch.clone)

    def index_select(self, dim: int, index: Tensor) -> NamedRows:
        """Return the entries ``index`` of the axis ``dim`` of each tensor."""
        return self.map(lambda tensor: tensor.index_select(dim, index))

    def unflatten(self, dim: int, sizes: Sequence[int]) -> NamedRows:
        """Split the axis ``dim`` of each tensor into axes of the given sizes."""
        return self.map(lambda tensor: tensor.unflatten(dim, tuple(sizes)))

    def map(self, function: Callable[[Tensor], Tensor]) -> NamedRows:
        """Return the rows with ``function`` applied to each tensor."""
        return NamedRows(
            {name: function(value) for name, value in self.tensors.items()}, positional=self.positional
        )


Rows = Tensor | NamedRows
"""Inputs with one row per example."""

register_pytree_node(
    NamedRows,
    lambda rows: (list(rows.tensors.values()), (tuple(rows.tensors), rows.positional)),
    lambda values, context: NamedRows(
        dict(zip(context[0], values, strict=True)),
        positional=context[1],
    ),
    serialized_type_name="proponent.rows.NamedRows",
)


def outputs_of(model: nn.Module, x: Rows, tensors: Mapping[str, Tensor] | None = None) -> Tensor:
    """Return the outputs of a model for some inputs; a model is called here and in :func:`outputs_and_tensors` only.

    Args:
        model: model.
        x: (n, ...) inputs.
        tensors: tensors that replace those parameters and buffers of the model that have these names; tied ones stay tied.
    """
    if tensors is not None:
        return outputs_and_tensors(model, x, tensors)[0]
    positional, keywords = arguments_of(x)
    outputs: Tensor = model(*positional, **keywords)
    return outputs


def outputs_and_tensors(
    model: nn.Module, x: Rows, tensors: Mapping[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the outputs as :func:`outputs_of`, and ``tensors`` with those that the model assigned anew."""
    if not tensors:
        return outputs_of(model, x), {}
    positional, keywords = arguments_of(x)
    own = dict(tensors)
    outputs: Tensor = functional_call(model, own, positional, keywords)
    return outputs, own


def arguments_of(x: Rows) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """Return the positional and the keyword arguments of a call."""
    if isinstance(x, Tensor):
        return (x,), {}
    return (tuple(x.tensors.values()), {}) if x.positional else ((), x.tensors)


def named_tensors(x: Rows) -> dict[str, Tensor]:
    """Return the tensors by name; a single tensor has the name ``x``, and those of a tuple ``x0``, ``x1`` and so on."""
    return {SINGLE: x} if isinstance(x, Tensor) else x.tensors


def position_name(place: int) -> str:
    """Return the name of an entry of a tuple, counted from 0."""
    return f"{SINGLE}{place}"


def rows_of(tensors: Mapping[str, Tensor]) -> Rows:
    """Return the inputs with the names of :func:`named_tensors`, in any order; ``x0``, ``x1`` and so on are a tuple."""
    if set(tensors) == {SINGLE}:
        return tensors[SINGLE]
    positions = [position_name(place) for place in range(len(tensors))]
    if set(tensors) == set(positions):
        return NamedRows({name: tensors[name] for name in positions}, positional=True)
    return NamedRows(dict(sorted(tensors.items())))


def map_rows(x: Rows, function: Callable[[Tensor], Tensor]) -> Rows:
    """Return the inputs with ``function`` applied to each tensor."""
    return function(x) if isinstance(x, Tensor) else x.map(function)


def in_double(values: Tensor) -> Tensor:
    """Return a tensor with its floating point numbers in double precision; others as they are."""
    return values.double() if values.is_floating_point() else values


def rows_equal(one: Rows, other: Rows) -> bool:
    """Return whether two inputs of the same names are equal, shapes and types included."""
    mine, theirs = named_tensors(one), named_tensors(other)
    return all(torch.equal(value, theirs[name]) for name, value in mine.items())


def join_rows(parts: Sequence[Rows]) -> Rows:
    """Return inputs of the same names one after the other."""
    tensors = [named_tensors(part) for part in parts]
    joined = {name: torch.cat([part[name] for part in tensors]) for name in tensors[0]}
    first = parts[0]
    return joined[SINGLE] if isinstance(first, Tensor) else NamedRows(joined, positional=first.positional)


def numbers_per_row(x: Rows) -> int:
    """Return the number of elements of one row of all tensors together."""
    return sum(math.prod(value.shape[1:]) for value in named_tensors(x).values())


def rows_at_a_time(x: Rows, most: int) -> int:
    """Return how many rows to pass at a time: ``most``, or fewer where rows are so large that these take over 16 MiB."""
    return max(1, min(most, _PASS_NUMBERS // max(1, numbers_per_row(x))))


def describe_row(x: Rows) -> str:
    """Return shape and type of a row, and the call of the model if there are several tensors, for messages."""

    def one(value: Tensor) -> str:
        return f"{tuple(value.shape[1:])} and {value.dtype}"

    if isinstance(x, Tensor):
        return one(x)
    parts = ", ".join(f"{name}: {one(value)}" for name, value in x.tensors.items())
    names = ", ".join(name if x.positional else f"{name}=…" for name in x.tensors)
    return f"{parts} (called as model({names}))"

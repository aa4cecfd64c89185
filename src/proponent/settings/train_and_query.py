"""Training examples and queries as tensors of the same names, shapes and types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from proponent.chunking import chunks
from proponent.errors import UserError
from proponent.rows import Rows, named_tensors, rows_of
from proponent.settings.accepted_forms import WEIGHT, Examples, read_examples
from proponent.settings.column_values import Column
from proponent.settings.ragged_rows import IGNORED, pad, pad_inputs

_BATCH = 4096
"""Rows that are searched for NaN at a time."""


@dataclass
class ExampleTensors:
    """Examples of one part.

    Attributes:
        x: (n, …) inputs.
        y: (n, …) labels.
        weight: weights, if any.
    """

    x: Rows
    y: Tensor
    weight: Tensor | None = None


def tensors_of_both(train: Any, query: Any, where: str) -> tuple[ExampleTensors, ExampleTensors]:
    """Return training examples and queries, with at least one row each, and only finite numbers.

    Args:
        train: training examples in a form that :func:`.read_examples` accepts.
        query: the same for the queries; weights of theirs are not used.
        where: beginning of messages.

    Raises:
        UserError: the form is not accepted, the parts do not fit together, or a number is not finite.
    """
    parts = (read_examples(train, f"{where}: train"), read_examples(query, f"{where}: query"))
    _check_rows(parts[0], f"{where}: train")
    _check_rows(parts[1], f"{where}: query")
    names = [", ".join(sorted(part.x)) for part in parts]
    if names[0] != names[1]:
        raise UserError(
            f"{where}: the inputs of train are {names[0]}, and those of query {names[1]}; give both the same names"
        )
    first, second = pad_inputs(parts[0].x, parts[1].x, where)
    y_train, y_query = pad(parts[0].y, parts[1].y, IGNORED)
    weight = parts[0].weight
    if isinstance(weight, list):
        raise UserError(f"{where}: train: {WEIGHT} must be one number per example")
    both = ExampleTensors(rows_of(first), y_train, weight), ExampleTensors(rows_of(second), y_query)
    for part, found in zip(("train", "query"), both, strict=True):
        for name, values in (named_tensors(found.x) | {"y": found.y}).items():
            check_finite(values, f"{where}: {part}: {name}")
    for name, values in (named_tensors(both[0].x) | {"y": y_train}).items():
        _check_same(name, values, (named_tensors(both[1].x) | {"y": y_query})[name], where)
    return both


def _check_rows(part: Examples, where: str) -> None:
    """Refuse columns of different numbers of rows, and no rows at all."""
    columns: dict[str, Column] = dict(part.x) if part.weight is None else {**part.x, WEIGHT: part.weight}
    y = _shape(part.y)
    for name, column in columns.items():
        shape = _shape(column)
        if not shape or not y or shape[0] != y[0]:
            raise UserError(f"{where}: {name} has shape {shape} and y {y}; give both one row per example")
    if y[0] == 0:
        raise UserError(f"{where}: there are no examples; the dataset factory must return at least one")


def _shape(column: Column) -> tuple[int, ...]:
    return (len(column),) if isinstance(column, list) else tuple(column.shape)


def check_finite(values: Tensor, where: str) -> None:
    """Refuse NaN and infinite numbers.

    Args:
        values: (n, ...) inputs or labels.
        where: beginning of the message.

    Raises:
        UserError: says how many rows hold such numbers, and which is the first.
    """
    if not values.is_floating_point():
        return
    bad = torch.cat(
        [  # a double above 3.4e38 is infinite in float32
            ~torch.isfinite(values[rows].float()).flatten(1).all(1)
            if values.ndim > 1
            else ~torch.isfinite(values[rows].float())
            for rows in chunks(len(values), _BATCH)
        ]
    )
    if bool(bad.any()):
        raise UserError(
            f"{where} holds NaN or infinite numbers in {int(bad.sum())} rows (first: {int(bad.nonzero()[0])}); "
            "clean or drop these rows"
        )


def _check_same(name: str, train: Tensor, query: Tensor, where: str) -> None:
    """Refuse an input whose rows differ in shape or kind of number between train and query."""
    if train.shape[1:] != query.shape[1:]:
        raise UserError(
            f"{where}: a row of train {name} has shape {tuple(train.shape[1:])} and one of query {name} "
            f"{tuple(query.shape[1:])}; give both one shape"
        )
    both_float = train.is_floating_point() and query.is_floating_point()  # they are stored in one precision
    if name != "y" and train.dtype != query.dtype and not both_float:
        raise UserError(
            f"{where}: train {name} is {train.dtype} and query {name} {query.dtype}; give both one type"
        )

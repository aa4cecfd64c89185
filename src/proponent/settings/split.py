"""Result of a dataset factory, and its conversion to validated tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from proponent.config.recipe_schema import Precision
from proponent.config.setting_schema import QueriesConfig
from proponent.errors import UserError
from proponent.rows import MASK, TOKENS, Rows, describe_row, map_rows, named_tensors, outputs_of
from proponent.settings.description import class_list
from proponent.settings.floating_types import dtype_of, other_type
from proponent.settings.large_arrays import as_stored
from proponent.settings.model_preparation import prepare_model
from proponent.settings.tasks import Task
from proponent.settings.tasks.sample_weights import with_sample_weights
from proponent.settings.train_and_query import tensors_of_both


@dataclass
class Split:
    """Training examples and queries, as a dataset factory returns them.

    Attributes:
        train: pair ``(x, y)`` or mapping ``{"x": x, "y": y}`` of arrays with one row per example, or an indexable dataset
            of such rows; ``x`` may be a tuple or a dictionary of arrays. All forms: ``docs/adding-a-setting.md``.
        query: the same for the queries: first those for tuning hyper-parameters, then those for the results.
        class_names: names of the labels 0, 1, …
        image_shape: ``(height, width)``, ``(channels, height, width)`` or ``(height, width, channels)``, if a row of
            ``x`` is an image; a shape that can be read both ways has its channels first.
        card: name of the dataset's card (:mod:`proponent.settings.cards`).
        token_names: names of the tokens 0, 1, … of texts or music, for readers and for methods that read texts.
        truth: arrays by name, of what is known about the examples: ``duplicate_of``, ``subclass``, ``shortcut``, ``fact`` or
            ``domain`` with one number per training example, and the same name followed by ``_queries`` with one number per
            query. ``planted.given`` in a setting names those that are stored; no method reads them.

    Examples:
        >>> import numpy as np
        >>> from proponent.settings import Split
        >>> x, y = np.random.default_rng(0).random((100, 4)), np.arange(100) % 2
        >>> split = Split(train=(x[:80], y[:80]), query=(x[80:], y[80:]), class_names=["even", "odd"])
    """

    train: Any
    query: Any
    class_names: list[str] | None = None
    image_shape: tuple[int, ...] | None = None
    card: str | None = None
    token_names: list[str] | None = None
    truth: Mapping[str, Any] | None = None


class Arrays(NamedTuple):
    """Data of a setting: floating point rows in float32 (or float64, :class:`.Precision`), class labels in int64."""

    x_train: Rows
    y_train: Tensor
    x_query: Rows
    y_query: Tensor
    weight_train: Tensor | None = None
    """(n_train,) factors of the losses of the training examples; None for ones."""

    def weighted(self, task: Task) -> tuple[Task, Arrays]:
        """Return a task and data with the weights among the labels, for engines that use the training losses."""
        if self.weight_train is None:
            return task, self
        task, labels = with_sample_weights(task, self.y_train, self.weight_train)
        return task, self._replace(y_train=labels, weight_train=None)

    def to(self, device: str | torch.device) -> Arrays:
        """Return the data on a device.

        Raises:
            UserError: they are larger than the memory of a GPU.
        """
        if torch.device(device).type == "cuda":
            self._refuse_small(torch.cuda.get_device_properties(device).total_memory)
        return Arrays(
            self.x_train.to(device),
            self.y_train.to(device),
            self.x_query.to(device),
            self.y_query.to(device),
            self.weight_train.to(device) if self.weight_train is not None else None,
        )

    def _refuse_small(self, device_bytes: int) -> None:
        parts = (self.y_train, self.y_query, *named_tensors(self.x_train).values())
        needed = sum(part.numel() * part.element_size() for part in parts)
        if needed > device_bytes:
            raise UserError(
                f"features and methods need all data on the GPU: they take {needed / 2**30:.1f} GiB, and it has "
                f"{device_bytes / 2**30:.1f}; set compute.device to cpu in params.yaml, where they are read in parts"
            )

    def with_queries(self, rows: slice) -> Arrays:
        """Return the data with some of the queries."""
        return self._replace(x_query=self.x_query[rows], y_query=self.y_query[rows])


def materialise(
    split: Split, task: Task, queries: QueriesConfig, name: str, precision: Precision = Precision.float32
) -> Arrays:
    """Turn a split into tensors, and refuse data that cannot be trained on or attributed.

    Args:
        split: result of the dataset factory.
        task: task that checks the labels.
        queries: numbers of queries; the first ``tune + test`` query rows are kept, tune first.
        name: name of the setting, for messages.
        precision: type of floating point rows.

    Raises:
        UserError: x and y have different numbers of rows, there is no training example, there are too few queries, x
            or y holds NaN or infinite numbers, or the task cannot use the labels.
    """
    where = f"setting {name}"
    train, query = tensors_of_both(split.train, split.query, where)
    wanted = queries.tune + queries.test
    if len(query.x) < wanted:
        raise UserError(
            f"{where}: there are {len(query.x)} queries but queries.tune + queries.test is {wanted}; "
            "lower them, or return more queries from the dataset factory"
        )
    x_query, y_query = query.x[:wanted], query.y[:wanted]
    n_classes = (
        len(class_list(split.class_names, f"setting {name}")) if split.class_names is not None else None
    )
    y_train = task.check(train.y, f"setting {name}: train", n_classes)
    y_query = task.check(y_query, f"setting {name}: query", n_classes)
    task.check_queries(y_query, f"setting {name}: query")
    weight = (
        None
        if train.weight is None
        else checked_weights(train.weight, len(y_train), f"{where}: train: weight")
    )

    def stored(values: Tensor) -> Tensor:
        return as_stored(values, dtype_of(precision) if values.is_floating_point() else values.dtype)

    return Arrays(
        map_rows(train.x, stored),
        stored(y_train),
        map_rows(x_query, stored),
        stored(y_query),
        None if weight is None else stored(weight),
    )


def checked_weights(weight: Tensor, n_train: int, where: str) -> Tensor:
    """Return the weights of the training examples in a floating point type.

    Args:
        weight: weights as they were given.
        n_train: number of training examples.
        where: beginning of the message.

    Raises:
        UserError: the number of weights is not that of examples, a weight is negative or not finite, or all are 0.
    """
    found = weight if weight.is_floating_point() else weight.to(torch.float32)
    if found.shape != (n_train,):
        raise UserError(f"{where} has shape {tuple(found.shape)}; give one number per example, ({n_train},)")
    if not bool((found.isfinite() & (found >= 0)).all()) or not bool(found.any()):
        raise UserError(f"{where} must hold finite numbers that are not negative, of which one is above 0")
    return found


def check_tokens(arrays: Arrays, where: str) -> None:
    """Refuse rows that are not texts: token numbers (length,) from 0.

    Token 0 is padding, unless a dictionary of inputs has an ``attention_mask``, which is 0 where there is padding.

    Args:
        arrays: training examples and queries.
        where: beginning of messages, such as the name of the setting.

    Raises:
        UserError: the rows are not token numbers, or a text consists of padding (0) only.
    """
    for part, x in (("train", arrays.x_train), ("query", arrays.x_query)):
        named = named_tensors(x)
        tokens = x if isinstance(x, Tensor) else named.get(TOKENS)
        if tokens is None:
            raise UserError(
                f"{where}: {part}: a text needs an input with the name {TOKENS}; the inputs are "
                f"{', '.join(named)}"
            )
        if tokens.ndim != 2 or tokens.is_floating_point() or int(tokens.min()) < 0:
            raise UserError(
                f"{where}: {part}: a text needs token numbers (examples, length) from 0, "
                f"not {tokens.dtype} of shape {tuple(tokens.shape)} from {tokens.min().item():g}"
            )
        empty = (named.get(MASK, tokens) == 0).all(1).nonzero()
        if len(empty):
            raise UserError(
                f"{where}: {part} row {int(empty[0])} consists of padding (0) only; drop this row"
            )


def check_model(model: nn.Module, arrays: Arrays, task: Task, name: str) -> None:
    """Refuse a model whose outputs do not fit the data, before time is spent on training it.

    Args:
        model: model, whose mode is restored.
        arrays: data of the setting.
        task: task that checks the outputs.
        name: name of the setting, for messages.

    Raises:
        UserError: the model cannot process a training example, or its outputs do not fit the task.
    """
    model = prepare_model(model)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            outputs = outputs_of(model, arrays.x_train[:2].clone())
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise UserError(
            f"setting {name}: the model cannot process examples of shape {describe_row(arrays.x_train)}: "
            f"{' '.join(str(error).split())}{other_type(model, arrays.x_train)}"
        ) from error
    finally:
        model.train(training)
    if not isinstance(outputs, Tensor):
        raise UserError(
            f"setting {name}: the model returned a {type(outputs).__name__}; return one tensor of outputs (n, ...), for "
            "example outputs.logits"
        )
    for part, y in (("train", arrays.y_train), ("query", arrays.y_query)):
        task.check_outputs(outputs, y, f"setting {name}: {part}")

"""Training examples and queries as people have them, as tensors with one row per example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler

from proponent.errors import UserError
from proponent.rows import NamedRows, Rows, named_tensors, rows_of
from proponent.settings.accepted_forms import read_examples
from proponent.settings.ragged_rows import IGNORED, pad, pad_inputs
from proponent.settings.split import checked_weights
from proponent.settings.tasks import Task
from proponent.settings.train_and_query import check_finite


def given_rows(data: Any, task: Task, dtype: torch.dtype, where: str) -> tuple[Rows, Tensor, Tensor | None]:
    """Return inputs, labels and weights if there are any, with floating point inputs in the type of the model.

    Args:
        data: examples in one of the forms that a dataset factory may return, or an unshuffled ``DataLoader`` of batches
            (inputs, labels), or of mappings as those of transformers.
        task: task that checks the labels.
        dtype: type of the model's parameters.
        where: beginning of messages.

    Raises:
        UserError: the form is not accepted, a ``DataLoader`` shuffles, numbers are not finite, weights are negative, or the
            task cannot use the labels.
    """
    if isinstance(data, DataLoader):
        data = _whole(data, where)
    examples = read_examples(data, where)
    named, _ = pad_inputs(examples.x, examples.x, where)
    y, _ = pad(examples.y, examples.y, IGNORED)
    x = rows_of(named)
    if not y.ndim:
        raise UserError(
            f"{where}: the label is a single number; give one row per example, for example (x[None], y[None])"
        )
    if len(x) != len(y) or not len(y):
        raise UserError(
            f"{where}: there are {len(x)} inputs and {len(y)} labels; give one label per example, at least one"
        )
    for name, values in (named_tensors(x) | {"y": y}).items():
        check_finite(values, f"{where}: {name}")
    weight = None
    if examples.weight is not None:
        weight = checked_weights(torch.as_tensor(examples.weight), len(y), f"{where}: weight").to(dtype)
    return _floats(x, dtype), task.check(y, where), weight


def check_like_train(x: Rows, train: Rows) -> None:
    """Refuse queries whose inputs have other names, types or, for floating point inputs, shapes than those of ``train``.

    Raises:
        UserError: names the input.
    """
    own, others = named_tensors(x), named_tensors(train)
    if set(own) != set(others):
        raise UserError(
            f"queries: the inputs are {', '.join(own)}, and those of train are {', '.join(others)}; give the same ones"
        )
    for name, value in own.items():
        if value.dtype != others[name].dtype:
            raise UserError(
                f"queries: '{name}' is {value.dtype}, and that of train {others[name].dtype}; give both one type"
            )
        if value.is_floating_point() and value.shape[1:] != others[name].shape[1:]:
            raise UserError(
                f"queries: '{name}' has rows of shape {tuple(value.shape[1:])}, and those of train have shape "
                f"{tuple(others[name].shape[1:])}; give rows of the same shape"
            )


def _whole(loader: DataLoader[Any], where: str) -> Any:
    """Return all batches of a ``DataLoader`` as one."""
    _check_order(loader, where)
    batches = list(loader)
    if batches and not _equal(batches[0], next(iter(loader))):
        raise UserError(
            f"{where}: the first batch of this DataLoader differs between two reads, so that its dataset is random; leave "
            "random transforms out of the dataset"
        )
    if batches and isinstance(batches[0], Mapping):
        return _joined(batches)
    if not batches or not isinstance(batches[0], (tuple, list)) or len(batches[0]) != 2:
        raise UserError(
            f"{where}: batches of the DataLoader must be pairs (inputs, labels) or mappings; give the dataset itself"
        )
    if not torch.as_tensor(batches[0][1]).ndim:  # examples one by one, with batch_size=None
        return batches
    inputs, labels = zip(*batches, strict=True)
    return _joined(list(inputs)), _joined(list(labels))


def _equal(first: Any, second: Any) -> bool:
    """Return whether two reads of a batch have the same tensors; NaN is equal to itself here."""
    if isinstance(first, Mapping):
        return all(_equal(value, second.get(name)) for name, value in first.items())
    if isinstance(first, (tuple, list)):
        return len(first) == len(second) and all(map(_equal, first, second))
    return not isinstance(first, Tensor) or torch.equal(first.nan_to_num(), second.nan_to_num())


def _check_order(loader: DataLoader[Any], where: str) -> None:
    """Refuse a ``DataLoader`` whose examples cannot be matched to scores."""
    if isinstance(loader.dataset, IterableDataset):
        return
    batches = loader.batch_sampler
    for sampler, known in ((loader.sampler, SequentialSampler), (batches, BatchSampler | None)):
        if not isinstance(sampler, known):
            raise UserError(
                f"{where}: this DataLoader may draw examples in another order each time ({type(sampler).__name__}), so that "
                "scores could not be matched to examples; give shuffle=False, or the dataset itself"
            )
    if isinstance(batches, BatchSampler) and type(batches) is not BatchSampler:
        raise UserError(
            f"{where}: this DataLoader forms batches in an order of its own ({type(batches).__name__}), so that scores "
            "could not be matched to examples; give the dataset itself"
        )
    if loader.drop_last and loader.batch_size and sum(1 for _ in loader.sampler) % loader.batch_size:
        raise UserError(
            f"{where}: this DataLoader leaves out the last examples (drop_last=True); give drop_last=False, or the dataset "
            "itself"
        )


def _joined(parts: list[Any]) -> Any:
    """Return the inputs of all batches; tensors that are padded to different lengths as a list of rows."""
    first = parts[0]
    if isinstance(first, Mapping):
        return {name: _joined([part[name] for part in parts]) for name in first}
    if isinstance(first, (tuple, list)):
        return tuple(_joined(list(column)) for column in zip(*parts, strict=True))
    tensors = [torch.as_tensor(part) for part in parts]
    if len({tensor.shape[1:] for tensor in tensors}) == 1:
        return torch.cat(tensors)
    return [row.tolist() for tensor in tensors for row in tensor]


def _floats(x: Rows, dtype: torch.dtype) -> Rows:
    def converted(tensor: Tensor) -> Tensor:
        return (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous()

    return x.map(converted) if isinstance(x, NamedRows) else converted(x)

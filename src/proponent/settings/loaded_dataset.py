"""A dataset factory's data as validated tensors, the same ones each time that they are loaded."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from proponent.config.model_schema import FactoryConfig
from proponent.config.recipe_schema import Precision
from proponent.config.setting_schema import QueriesConfig
from proponent.errors import UserError
from proponent.random_state import seeded
from proponent.rows import named_tensors
from proponent.settings.description import check_description
from proponent.settings.factories import build_dataset
from proponent.settings.large_arrays import row_chunks
from proponent.settings.split import Arrays, Split, materialise
from proponent.settings.tasks import Task


def load_dataset(
    config: FactoryConfig,
    seed: int,
    task: Task,
    queries: QueriesConfig,
    name: str,
    precision: Precision = Precision.float32,
) -> tuple[Split, Arrays]:
    """Call a dataset factory twice, and return its split and its data.

    The global generators of Python, NumPy and torch have the same seed in both calls, while rows are read as well.

    Args:
        config: factory of the dataset.
        seed: seed of the setting's dataset.
        task: task that checks the labels.
        queries: numbers of queries.
        name: name of the setting, for messages.
        precision: type of floating point rows.

    Raises:
        UserError: the factory cannot be called, its data cannot be used, or it gives other data in the second call.
    """
    first = dataset_digests(config, seed, task, queries, name, precision)
    with seeded(seed):
        split = build_dataset(config, seed)
        arrays = materialise(split, task, queries, name, precision)
    refuse_other_data(config, first, digests_of(arrays), name)
    class_names, image_shape = check_description(split.class_names, split.image_shape, arrays.x_train, name)
    return dataclasses.replace(split, class_names=class_names, image_shape=image_shape), arrays


def dataset_digests(
    config: FactoryConfig,
    seed: int,
    task: Task,
    queries: QueriesConfig,
    name: str,
    precision: Precision = Precision.float32,
) -> dict[str, str]:
    """Call a dataset factory once, and return the digests of its data; arguments as in :func:`load_dataset`."""
    with seeded(seed):
        return digests_of(materialise(build_dataset(config, seed), task, queries, name, precision))


def digests_of(arrays: Arrays) -> dict[str, str]:
    """Return the digest of each tensor of a dataset, by name."""
    parts = (("train", arrays.x_train, arrays.y_train), ("query", arrays.x_query, arrays.y_query))
    found = {
        f"{part} {name}": _digest(tensor)
        for part, x, y in parts
        for name, tensor in (named_tensors(x) | {"y": y}).items()
    }
    return found if arrays.weight_train is None else found | {"weight": _digest(arrays.weight_train)}


def refuse_other_data(
    config: FactoryConfig, first: Mapping[str, str], second: Mapping[str, str], name: str
) -> None:
    """Raise a UserError if two calls of a dataset factory gave different data.

    Args:
        config: factory of the dataset.
        first: digests of what the first call gave.
        second: digests of what the second call gave; only names that occur in both are compared.
        name: name of the setting, for messages.
    """
    for what in first:
        if what in second and first[what] != second[what]:
            raise UserError(
                f"setting {name}: dataset factory '{config.factory}' gives other data each time that it is called (first "
                f"difference in {what}); fix the seed of its random numbers, and leave out time and shared state"
            )


def _digest(tensor: Tensor) -> str:
    found = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
    for rows in row_chunks(tensor):
        found.update(tensor[rows].contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()

"""A dataset factory's data as validated tensors, the same ones each time that they are loaded."""

from __future__ import annotations

import dataclasses
import hashlib

from torch import Tensor

from proponent.config.schema import FactoryConfig, QueriesConfig
from proponent.errors import UserError
from proponent.random_state import seeded
from proponent.settings.description import check_description
from proponent.settings.factories import build_dataset
from proponent.settings.split import Arrays, Split, materialise
from proponent.settings.tasks import Task

_NAMES = ("train x", "train y", "query x", "query y")


def load_dataset(
    config: FactoryConfig, seed: int, task: Task, queries: QueriesConfig, name: str
) -> tuple[Split, Arrays]:
    """Call a dataset factory twice, and return its split and its data.

    The global generators of Python, NumPy and torch have the same seed in both calls, while rows are read as well.

    Args:
        config: factory of the dataset.
        seed: seed of the setting's dataset.
        task: task that checks the labels.
        queries: numbers of queries.
        name: name of the setting, for messages.

    Raises:
        UserError: the factory cannot be called, its data cannot be used, or it gives other data in the second call.
    """
    with seeded(seed):
        first = _digests(materialise(build_dataset(config, seed), task, queries, name))
    with seeded(seed):
        split = build_dataset(config, seed)
        arrays = materialise(split, task, queries, name)
    for what, one, other in zip(_NAMES, first, _digests(arrays), strict=True):
        if one != other:
            raise UserError(
                f"setting {name}: dataset factory '{config.factory}' gives other data each time that it is called (first "
                f"difference in {what}); fix the seed of its random numbers, and leave out time and shared state"
            )
    class_names, image_shape = check_description(split.class_names, split.image_shape, arrays.x_train, name)
    return dataclasses.replace(split, class_names=class_names, image_shape=image_shape), arrays


def _digests(arrays: Arrays) -> list[str]:
    return [_digest(tensor) for tensor in arrays]


def _digest(tensor: Tensor) -> str:
    header = f"{tensor.dtype} {tuple(tensor.shape)} ".encode()
    return hashlib.sha256(header + tensor.contiguous().flatten().numpy().tobytes()).hexdigest()

"""Changes of the data whose truth is known (shortcuts, merged classes and duplicates), and truths of dataset factories.

Metrics compare scores with the truth, which is stored next to the data; no method reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from proponent.config.load import nearest
from proponent.config.planted import DuplicatesConfig, PlantedConfig, ShortcutConfig, SubclassConfig
from proponent.errors import UserError
from proponent.rows import map_rows
from proponent.settings.large_arrays import empty_rows, row_chunks
from proponent.settings.split import Arrays


class Planted(NamedTuple):
    """Data after a change, and what was changed."""

    arrays: Arrays
    class_names: list[str] | None
    truth: dict[str, Tensor]
    """``shortcut`` (n_train,) and ``shortcut_queries`` (n_query,), bool; ``subclass`` and ``subclass_queries``, the labels
    before; or ``duplicate_of`` (n_train,), the number of the original of a copy and -1 for other examples."""


def plant(
    arrays: Arrays,
    class_names: list[str] | None,
    image_shape: Sequence[int] | None,
    config: PlantedConfig,
    seed: int,
    where: str,
) -> Planted:
    """Change data as a setting asks for.

    Args:
        arrays: data of the dataset factory, which stay as they are.
        class_names: names of the labels.
        image_shape: shape of an image, for a shortcut.
        config: the change.
        seed: seed of the choice of examples.
        where: beginning of messages.

    Raises:
        UserError: the data do not allow the change.
    """
    generator = torch.Generator().manual_seed(seed)
    if config.shortcut is not None:
        arrays, truth = _stamp(arrays, image_shape, config.shortcut, generator, where)
    elif config.subclass is not None:
        arrays, truth = _merge(arrays, config.subclass, where)
        class_names = _merged_names(class_names, config.subclass, where)
    elif config.duplicates is not None:
        arrays, truth = _duplicate(arrays, config.duplicates, generator, where)
    else:
        truth = {}
    return Planted(arrays, class_names, truth)


def _stamp(
    arrays: Arrays,
    image_shape: Sequence[int] | None,
    config: ShortcutConfig,
    generator: torch.Generator,
    where: str,
) -> tuple[Arrays, dict[str, Tensor]]:
    """Mark some images with a square of the largest value of the training images, or some texts with a token."""
    if not isinstance(arrays.x_train, Tensor) or not isinstance(arrays.x_query, Tensor):
        raise UserError(f"{where}: planted.shortcut needs one input; leave it out")
    _check_classes(arrays, where, "shortcut")
    places, mark = _mark(arrays.x_train, image_shape, config, where)
    of_class = (arrays.y_train == config.label).nonzero()[:, 0]
    others = (arrays.y_query != config.label).nonzero()[:, 0]
    if not len(of_class):
        raise UserError(f"{where}: no training example has the label {config.label} of planted.shortcut")
    if not round(config.fraction * len(of_class)):
        raise UserError(
            f"{where}: planted.shortcut.fraction of {len(of_class)} examples is less than one; raise it"
        )
    stamped, truth = [], []
    for x, rows, fraction in (
        (arrays.x_train, of_class, config.fraction),
        (arrays.x_query, others, config.query_fraction),
    ):
        chosen = rows[torch.randperm(len(rows), generator=generator)[: round(fraction * len(rows))]]
        marked = _copied(x)
        for row in chosen.tolist():
            marked[row].view(-1)[places] = mark
        stamped.append(marked)
        truth.append(torch.zeros(len(x), dtype=torch.bool).index_fill(0, chosen, True))
    changed = arrays._replace(x_train=stamped[0], x_query=stamped[1])
    return changed, {"shortcut": truth[0], "shortcut_queries": truth[1]}


def _mark(
    x: Tensor, image_shape: Sequence[int] | None, config: ShortcutConfig, where: str
) -> tuple[Tensor, Tensor]:
    """Return the places of a mark in a flat row, and the value that it gives them.

    Raises:
        UserError: the rows are neither images nor, if the mark is a token, texts.
    """
    if config.token is None:
        if image_shape is None:
            raise UserError(
                f"{where}: planted.shortcut needs images; give image_shape in the Split, or planted.shortcut.token for texts"
            )
        return _corner(image_shape, config.pixels, where), x.max()
    if x.ndim != 2 or x.is_floating_point():
        raise UserError(
            f"{where}: planted.shortcut.token needs texts as token numbers; leave it out for images"
        )
    return torch.tensor([0]), torch.tensor(config.token, dtype=x.dtype)


def _corner(image_shape: Sequence[int], pixels: int, where: str) -> Tensor:
    """Return the positions, in a flat image, of the pixels in the lower right square, in all channels."""
    has_channels = len(image_shape) == 3
    is_channels_first = has_channels and image_shape[0] in (1, 3, 4)
    height, width = image_shape[1:] if is_channels_first else image_shape[:2]
    if pixels > min(height, width):
        raise UserError(f"{where}: planted.shortcut.pixels is {pixels}, but an image has {height} x {width}")
    mask = torch.zeros(tuple(image_shape), dtype=torch.bool)
    rows, columns = slice(height - pixels, height), slice(width - pixels, width)
    if is_channels_first:
        mask[:, rows, columns] = True
    else:
        mask[rows, columns] = True
    return mask.flatten().nonzero()[:, 0]


def _merge(arrays: Arrays, config: SubclassConfig, where: str) -> tuple[Arrays, dict[str, Tensor]]:
    """Replace labels by the numbers of their groups."""
    _check_classes(arrays, where, "subclass")
    number_of = {label: number for number, group in enumerate(config.groups) for label in group}
    for label in torch.cat([arrays.y_train, arrays.y_query]).unique().tolist():
        if label not in number_of:
            raise UserError(
                f"{where}: planted.subclass.groups has no group for the label {label}; add it to one"
            )
    group_of = torch.tensor([number_of.get(label, -1) for label in range(max(number_of) + 1)])
    truth = {"subclass": arrays.y_train, "subclass_queries": arrays.y_query}
    return arrays._replace(y_train=group_of[arrays.y_train], y_query=group_of[arrays.y_query]), truth


def _merged_names(class_names: list[str] | None, config: SubclassConfig, where: str) -> list[str] | None:
    if class_names is None:
        return None
    highest = max(label for group in config.groups for label in group)
    if highest >= len(class_names):
        raise UserError(
            f"{where}: planted.subclass.groups names the label {highest}, but there are {len(class_names)} classes; "
            "correct it"
        )
    return [" + ".join(class_names[label] for label in group) for group in config.groups]


def _duplicate(
    arrays: Arrays, config: DuplicatesConfig, generator: torch.Generator, where: str
) -> tuple[Arrays, dict[str, Tensor]]:
    """Replace random examples by copies of others, each of which is copied once."""
    n = len(arrays.y_train)
    count = min(round(config.fraction * n), n // 2)
    if not count:
        raise UserError(f"{where}: planted.duplicates.fraction of {n} examples is less than one; raise it")
    order = torch.randperm(n, generator=generator)
    copies, originals = order[:count], order[count : 2 * count]
    pairs = list(zip(copies.tolist(), originals.tolist(), strict=True))

    def replaced(values: Tensor) -> Tensor:
        found = _copied(values)
        for copy, original in pairs:
            found[copy] = values[original]
        return found

    changed = arrays._replace(
        x_train=map_rows(arrays.x_train, replaced),
        y_train=replaced(arrays.y_train),
        weight_train=None if arrays.weight_train is None else replaced(arrays.weight_train),
    )
    return changed, {"duplicate_of": torch.full((n,), -1).index_put((copies,), originals)}


def given_truth(
    truth: Mapping[str, Any] | None, names: Sequence[str], n_train: int, n_query: int, where: str
) -> dict[str, Tensor]:
    """Return the truths of a dataset factory that a setting names.

    Args:
        truth: arrays by name, as in :class:`~proponent.settings.Split`.
        names: names of truths of training examples; those of queries are added where the factory has them.
        n_train: number of training examples.
        n_query: number of queries of the setting, of which the factory may have more.
        where: beginning of messages.

    Raises:
        UserError: the factory does not return a truth, or it does not have one number per example.
    """
    known = dict(truth or {})
    found: dict[str, Tensor] = {}
    for name in names:
        if name not in known:
            raise UserError(
                f"{where}: planted.given: the dataset factory returns no truth '{name}'{nearest(name, known)}; correct it"
            )
        found[name] = torch.as_tensor(known[name])
        if f"{name}_queries" in known:
            found[f"{name}_queries"] = torch.as_tensor(known[f"{name}_queries"])[:n_query]
    for name, values in found.items():
        wanted = n_query if name.endswith("_queries") else n_train
        if values.shape != (wanted,):
            raise UserError(
                f"{where}: truth '{name}' of the dataset factory has shape {tuple(values.shape)}; give ({wanted},)"
            )
    return found


def _copied(values: Tensor) -> Tensor:
    """Return a contiguous copy of rows, which is a map of a file where they are large."""
    found = empty_rows(values.shape, values.dtype)
    for rows in row_chunks(values):
        found[rows] = values[rows]
    return found


def _check_classes(arrays: Arrays, where: str, kind: str) -> None:
    if arrays.y_train.ndim != 1 or arrays.y_train.is_floating_point():
        raise UserError(f"{where}: planted.{kind} needs one class per example; leave it out")

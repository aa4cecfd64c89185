"""Fashion-MNIST from its Debian package, and from a small package of the same format."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from archive_writers import place_package
from proponent.errors import UserError
from proponent.settings.cards import read_card
from proponent.settings.datasets import fashion_mnist as module
from proponent.settings.datasets.fashion_mnist import CLASSES, PACKAGE, fashion_mnist, read_idx
from proponent.settings.sources import Registry
from registry_data import need_package


def test_the_card_has_the_digest_and_the_counts_of_the_data():
    need_package(PACKAGE)
    card, parts = read_card("fashion-mnist"), read_idx()
    assert card.sha256 == PACKAGE.sha256
    assert card.package == str(PACKAGE)
    labels = {part: np.bincount(y) for part, (_, y) in parts.items()}
    assert card.counts == {
        "train": len(parts["train"][0]),
        "test": len(parts["t10k"][0]),
        "classes": len(CLASSES),
        "train per class": labels["train"].max(),
        "test per class": labels["t10k"].max(),
    }
    assert {len(set(counts)) for counts in labels.values()} == {1}, "classes are equally frequent"


@pytest.fixture
def small_package(tmp_path, monkeypatch):
    """Place a package of 12 training and 6 test images, two per class of six classes, where the real one would be."""

    def idx(array: np.ndarray) -> bytes:
        magic = 2051 if array.ndim == 3 else 2049
        return gzip.compress(struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.tobytes())

    generator = np.random.default_rng(0)
    files = {}
    for part, n in (("train", 12), ("t10k", 6)):
        images = generator.integers(0, 256, (n, 28, 28)).astype(np.uint8)
        images[:, 0, 0] = np.arange(n)
        labels = (np.arange(n) % 6).astype(np.uint8)
        files[f"usr/share/datasets/fashion-mnist/{part}-images-idx3-ubyte.gz"] = idx(images)
        files[f"usr/share/datasets/fashion-mnist/{part}-labels-idx1-ubyte.gz"] = idx(labels)
    place_package(module, Registry.debian, files, tmp_path, monkeypatch)


def numbers_of(x: np.ndarray) -> list[int]:
    """Return which image of the file each row is."""
    return [round(value * 255) for value in x.reshape(len(x), -1)[:, 0]]


def test_training_images_and_queries_come_from_their_own_parts(small_package):
    split = fashion_mnist(n_train=12, n_query=6)
    (x, y), (x_query, y_query) = split.train, split.query
    assert x.shape == (12, 784) and x.dtype == np.float32 and x.min() >= 0 and x.max() <= 1
    assert sorted(numbers_of(x)) == list(range(12))
    assert [number % 6 for number in numbers_of(x)] == y.tolist()
    assert [number % 6 for number in numbers_of(x_query)] == y_query.tolist()
    assert numbers_of(x) != list(range(12)), "shuffled"
    assert numbers_of(fashion_mnist(12, 6, seed=1).train[0]) != numbers_of(x)


def test_classes_are_chosen_by_name_and_numbered_in_their_order(small_package):
    split = fashion_mnist(n_train=3, n_query=2, classes=["Coat", "Trouser"], flat=False)
    x, y = split.train
    assert x.shape == (3, 1, 28, 28) and split.image_shape == (1, 28, 28)
    assert split.class_names == ["Coat", "Trouser"]
    assert [{4: 0, 1: 1}[number % 6] for number in numbers_of(x)] == y.tolist()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"classes": ["Coat", "Shoe"]}, "dataset.args.classes: unknown class 'Shoe'; valid: Ankle boot"),
        ({"classes": ["Coat"]}, "dataset.args.classes: give two or more"),
        ({"n_train": 13}, "dataset.args.n_train must lie between 1 and 12, not 13"),
        ({"n_query": 0}, "dataset.args.n_query must lie between 1 and 6, not 0"),
    ],
)
def test_mistakes_are_named(small_package, arguments, message):
    with pytest.raises(UserError) as error:
        fashion_mnist(**{"n_train": 12, "n_query": 6} | arguments)
    assert message in str(error.value)

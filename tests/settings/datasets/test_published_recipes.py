"""Data and networks of published recipes: archives of the same format with a few images, and torchvision's architectures."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image

from archive_writers import tar_bytes
from proponent.errors import UserError
from proponent.settings.augmentation import images
from proponent.settings.cards import read_card
from proponent.settings.datasets.cifar import SHA256, cifar10, read_archive
from proponent.settings.datasets.imagenet import image_folders, read_image
from proponent.settings.pixels import normalized
from proponent.settings.resnets import resnet18, resnet50
from settings.small_archives import CIFAR_CLASSES, write_cifar, write_image_folders


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    """Arguments for an archive of 60 training and 20 test images."""
    path = tmp_path_factory.mktemp("cifar") / "small.tar.gz"
    return {"archive": path.as_uri(), "sha256": write_cifar(path, n_train=60, n_test=20)}


def test_images_and_labels_are_those_of_the_records(cifar, tmp_path):
    path = tmp_path / "again.tar.gz"
    write_cifar(path, n_train=60, n_test=20)
    names, parts = read_archive(path)
    assert names == CIFAR_CLASSES
    x, y = parts["train"]
    assert (x.shape, y.tolist()) == ((60, 3, 32, 32), [number % 10 for number in range(60)])
    # What the test writes: the number of the image in red, its row in green and its column in blue.
    for number in (0, 7, 59):
        assert (x[number, 0] == number).all()
        assert (x[number, 1] == np.arange(32)[:, None]).all()
        assert (x[number, 2] == np.arange(32)).all()


def test_two_classes_are_numbered_in_their_order(cifar):
    split = cifar10(["dog", "cat"], n_train=10, n_query=3, **cifar)
    x, y = split.train
    assert [{5: 0, 3: 1}[int(number) % 10] for number in x[:, 0, 0, 0]] == y.tolist()
    assert x.dtype == np.uint8 and len(x) == 10 and len(split.query[0]) == 3
    assert split.class_names == ["dog", "cat"]
    assert (cifar10(["dog", "cat"], 10, 3, **cifar, seed=1).train[0][:, 0, 0, 0] != x[:, 0, 0, 0]).any()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"classes": ["cat", "dogs"]}, "dataset.args.classes: unknown class 'dogs'; did you mean 'dog'"),
        ({"classes": ["cat", "cat"]}, "dataset.args.classes: give two or more classes"),
        ({"n_train": 61}, "dataset.args.n_train must lie between 1 and 60, not 61"),
        ({"n_query": 0}, "dataset.args.n_query must lie between 1 and 20, not 0"),
        ({"sha256": SHA256}, "the file has the sha256"),
    ],
)
def test_mistakes_are_named(cifar, arguments, message):
    with pytest.raises(UserError) as error:
        cifar10(**cifar | arguments)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "files, said",
    [
        ({"cifar-10-batches-py/data_batch_1": b"pickle"}, "is not the binary archive of CIFAR-10"),
        ({"a/data_batch_1.bin": b"", "a/batches.meta.txt": b""}, "is not the binary archive"),
        (
            {"a/data_batch_1.bin": b"1" * 3072, "a/test_batch.bin": b"1" * 3073, "a/batches.meta.txt": b""},
            "train has 3072 bytes, no multiple of 3073",
        ),
    ],
)
def test_other_archives_are_refused(tmp_path, files, said):
    content = tar_bytes(files, "w:gz")
    (tmp_path / "other.tar.gz").write_bytes(content)
    with pytest.raises(UserError, match=said):
        cifar10(archive=(tmp_path / "other.tar.gz").as_uri(), sha256=hashlib.sha256(content).hexdigest())


def test_the_card_has_the_digest_of_the_archive():
    assert read_card("cifar10").sha256 == SHA256


def test_images_of_folders_are_read_one_at_a_time(tmp_path):
    train, query = write_image_folders(tmp_path, classes=3, per_class=4)
    split = image_folders(train, query, size=16, per_class=2, n_query=5)
    assert (len(split.train), len(split.query)) == (6, 5)
    assert split.class_names == ["n000", "n001", "n002"]
    for x, label in (split.train[row] for row in range(6)):
        assert x.shape == (3, 16, 16) and x.dtype == np.uint8
        assert abs(int(x[0].mean()) - 80 * label) <= 2, "the red channel is 80 times the label"


def test_the_centre_of_an_image_is_kept(tmp_path):
    """An image of 64 x 32 pixels is resized to 36 x 18 for a crop of 16; its left half is black and its right half white."""
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:, 32:] = 255
    Image.fromarray(picture).save(tmp_path / "wide.png")
    Image.fromarray(picture.transpose(1, 0, 2)).convert("L").save(tmp_path / "tall.png")
    wide, tall = read_image(tmp_path / "wide.png", 16), read_image(tmp_path / "tall.png", 16)
    assert wide.shape == tall.shape == (3, 16, 16)
    assert (wide[:, :, :7] == 0).all() and (wide[:, :, 9:] == 255).all()
    np.testing.assert_array_equal(tall, wide.transpose(0, 2, 1))


def test_folders_that_do_not_fit_are_named(tmp_path):
    train, query = write_image_folders(tmp_path, classes=2, per_class=1)
    with pytest.raises(UserError, match=r"dataset.args.query: .*/nowhere is not a folder"):
        image_folders(train, str(tmp_path / "nowhere"))
    (tmp_path / "val/n002").mkdir()
    with pytest.raises(UserError, match=r"dataset.args.query: .*/n002 has no image"):
        image_folders(train, query)
    Image.new("RGB", (8, 8)).save(tmp_path / "val/n002/a.png")
    with pytest.raises(UserError, match=r"dataset.args.train: has no class 'n002'"):
        image_folders(train, query)
    (tmp_path / "train/n000/broken.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"broken.jpg: cannot be read as an image"):
        read_image(tmp_path / "train/n000/broken.jpg", 8)


def test_bytes_become_standardised_numbers():
    x = torch.randint(256, (2, 3, 4, 4), dtype=torch.uint8)
    mean, deviation = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
    found = normalized(x, mean, deviation)
    for channel in range(3):
        expected = (x[:, channel].double() / 255 - mean[channel]) / deviation[channel]
        torch.testing.assert_close(found[:, channel].double(), expected, atol=1e-6, rtol=0)
    assert images(x, torch.Generator(), flip=True, pixels=1).dtype == torch.uint8


@pytest.mark.parametrize(
    "model, parameters",
    [
        (lambda: resnet18(), 11_689_512),  # torchvision.models.resnet18
        (lambda: resnet50(), 25_557_032),  # torchvision.models.resnet50
        (lambda: resnet18(classes=10, small=True), 11_173_962),  # the usual variant for CIFAR-10
    ],
)
def test_networks_have_the_published_numbers_of_parameters(model, parameters):
    assert sum(parameter.numel() for parameter in model().parameters()) == parameters


def test_small_images_keep_their_resolution_in_the_first_layers():
    x = torch.zeros(1, 3, 32, 32)
    network = resnet18(classes=10, small=True).eval()
    assert network.maxpool(network.conv1(x)).shape == (1, 64, 32, 32)
    assert resnet18().eval().conv1(x).shape == (1, 64, 16, 16)
    assert network(x).shape == (1, 10)


def test_folders_are_listed_without_their_images(tmp_path):
    """A million images must not be opened before the first is needed."""
    train, query = write_image_folders(tmp_path, classes=2, per_class=1)
    for path in tmp_path.rglob("*.jpg"):
        path.write_bytes(b"no image")
    assert len(image_folders(train, query, size=8).train) == 2

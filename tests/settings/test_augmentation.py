"""Augmentations of images, one image at a time by indexing."""

from __future__ import annotations

import pytest
import torch

from proponent.config.model_schema import FactoryConfig
from proponent.errors import UserError
from proponent.rows import NamedRows
from proponent.settings.augmentation import cutout, horizontal_flip, images, shift
from proponent.settings.batch_augmentation import Augment, build_augment

SHAPES = [(40, 7, 5), (40, 3, 6, 5)]


def pictures(shape, dtype=torch.uint8):
    return (torch.arange(torch.Size(shape).numel()) % 251 + 1).reshape(shape).to(dtype)


def generator():
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize("shape", SHAPES)
def test_flip(shape):
    x = pictures(shape)
    found = horizontal_flip(x, generator(), probability=0.3)
    chosen = torch.rand(len(x), generator=generator()) < 0.3
    assert 0 < chosen.sum() < len(x)
    expected = torch.stack([row.flip(-1) if flip else row for row, flip in zip(x, chosen, strict=True)])
    assert torch.equal(found, expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64])
def test_shift(shape, dtype):
    x = pictures(shape, dtype)
    found = shift(x, generator(), pixels=2)
    down, right = torch.randint(5, (2, len(x)), generator=generator()) - 2
    assert found.dtype == dtype and len(set(down.tolist())) == 5
    height, width = shape[-2:]
    for row, one in enumerate(found):
        for i in range(height):
            for j in range(width):
                a, b = i + int(down[row]), j + int(right[row])
                inside = 0 <= a < height and 0 <= b < width
                assert torch.equal(
                    one[..., i, j], x[row][..., a, b] if inside else torch.zeros_like(one[..., 0, 0])
                )


@pytest.mark.parametrize("shape", SHAPES)
def test_cutout(shape):
    x = pictures(shape)
    found = cutout(x, generator(), square=3)
    height, width = shape[-2:]
    draws = generator()
    top = torch.randint(height, (len(x),), generator=draws) - 1
    left = torch.randint(width, (len(x),), generator=draws) - 1
    for row, one in enumerate(found):
        expected = x[row].clone()
        a, b = max(0, int(top[row])), max(0, int(left[row]))
        expected[..., a : int(top[row]) + 3, b : int(left[row]) + 3] = 0
        assert torch.equal(one, expected)


def test_all_of_them():
    x = pictures(SHAPES[1])
    found = images(x, generator(), flip=True, pixels=1, square=2)
    draws = generator()
    expected = cutout(shift(horizontal_flip(x, draws), draws, pixels=1), draws, square=2)
    assert torch.equal(found, expected)
    assert torch.equal(images(x, generator()), x)


def scaled(factor: float):
    """Return an augmentation: a factory with arguments."""
    return lambda x, generator: x * (1 + factor * torch.rand(len(x), 1, generator=generator))


def number() -> int:
    """Return no augmentation."""
    return 3


def test_a_factory_is_the_function_or_returns_it():
    x = torch.ones(4, 2)
    name = __name__
    found = build_augment(FactoryConfig(f"{name}:scaled", {"factor": 0.5}))
    again = build_augment(FactoryConfig(f"{name}:scaled", {"factor": 0.5}))
    assert torch.equal(found(x, 1, 2), again(x, 1, 2))
    assert not torch.equal(found(x, 1, 2), found(x, 1, 3)) and not torch.equal(found(x, 1, 2), found(x, 2, 2))
    direct = build_augment(FactoryConfig("proponent.settings.augmentation:images", {"pixels": 1}))
    assert direct(torch.ones(4, 3, 3), 0, 0).shape == (4, 3, 3)
    assert build_augment(None) is None
    with pytest.raises(
        UserError, match="must be a function of inputs and generator, or return one, not a int"
    ):
        build_augment(FactoryConfig(f"{name}:number"))
    with pytest.raises(UserError, match="unexpected argument 'facto'"):
        build_augment(FactoryConfig(f"{name}:scaled", {"facto": 0.5}))


def test_named_inputs_keep_their_form():
    tensors = {"image": torch.ones(4, 2), "table": torch.zeros(4, 3)}
    named = Augment(lambda x, generator: {**x, "image": 2 * x["image"]})(NamedRows(tensors), 0, 0)
    assert torch.equal(named.tensors["image"], 2 * tensors["image"]) and list(named.tensors) == list(tensors)
    rows = NamedRows({"x0": torch.ones(4, 2), "x1": torch.zeros(4, 3)}, positional=True)
    pair = Augment(lambda x, generator: (x[0] + 1, x[1]))(rows, 0, 0)
    assert pair.positional and torch.equal(pair.tensors["x0"], torch.full((4, 2), 2.0))
    with pytest.raises(UserError, match="return a tuple of 2 tensors"):
        Augment(lambda x, generator: x[0])(rows, 0, 0)
    with pytest.raises(UserError, match="return a dictionary of image, table"):
        Augment(lambda x, generator: x["image"])(NamedRows(tensors), 0, 0)
    with pytest.raises(UserError, match="return a tensor"):
        Augment(lambda x, generator: [x])(torch.ones(2, 2), 0, 0)

"""Augmentations of images for ``augment: {factory: "proponent.settings.augmentation:images", args: {flip: true}}``.

Each function takes a batch of inputs and a generator, and returns inputs of the same shape and type. Images are (n, height,
width) or (n, channels, height, width), of any type. Random numbers are drawn on the CPU, so that they are the same on every
device.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional as F


def images(
    x: Tensor, generator: Generator, *, flip: bool = False, pixels: int = 0, square: int = 0
) -> Tensor:
    """Flip, shift and cut images at random, in this order.

    Args:
        x: images.
        generator: source of the random numbers.
        flip: whether to flip half of the images.
        pixels: largest shift, in pixels; 0 for none.
        square: side of the square that is set to 0, in pixels; 0 for none.

    Examples:
        >>> images(torch.rand(2, 3, 8, 8), torch.Generator().manual_seed(0), flip=True, pixels=1).shape
        torch.Size([2, 3, 8, 8])
    """
    if flip:
        x = horizontal_flip(x, generator)
    if pixels:
        x = shift(x, generator, pixels=pixels)
    return cutout(x, generator, square=square) if square else x


def horizontal_flip(x: Tensor, generator: Generator, *, probability: float = 0.5) -> Tensor:
    """Exchange left and right of some images.

    Args:
        x: images.
        generator: source of the random numbers.
        probability: probability of flipping an image.

    Examples:
        >>> horizontal_flip(torch.tensor([[[1, 2, 3]]]), torch.Generator(), probability=1.0)
        tensor([[[3, 2, 1]]])
    """
    chosen = torch.rand(len(x), generator=generator) < probability
    return torch.where(_per_image(chosen, x), x.flip(-1), x)


def shift(x: Tensor, generator: Generator, *, pixels: int = 2) -> Tensor:
    """Shift each image by a number of pixels in both directions, and fill with zeros: a crop of the padded image.

    Args:
        x: images.
        generator: source of the random numbers.
        pixels: largest shift, in pixels.

    Examples:
        >>> shift(torch.ones(1, 2, 3), torch.Generator().manual_seed(0), pixels=1)
        tensor([[[0., 1., 1.],
                 [0., 0., 0.]]])
    """
    height, width = x.shape[-2:]
    down, right = torch.randint(2 * pixels + 1, (2, len(x)), generator=generator).to(x.device)
    crops = F.pad(x, (pixels,) * 4).unfold(-2, height, 1).unfold(-2, width, 1)
    rows = torch.arange(len(x), device=x.device)
    return crops[rows, ..., down, right, :, :]


def cutout(x: Tensor, generator: Generator, *, square: int = 8) -> Tensor:
    """Set a square around a random pixel of each image to 0 (DeVries & Taylor, 2017).

    Args:
        x: images.
        generator: source of the random numbers.
        square: side of the square, in pixels; less of it is inside at the border.

    Examples:
        >>> cutout(torch.ones(1, 2, 3), torch.Generator().manual_seed(0), square=1)
        tensor([[[0., 1., 1.],
                 [1., 1., 1.]]])
    """
    height, width = x.shape[-2:]
    top = torch.randint(height, (len(x),), generator=generator) - square // 2
    left = torch.randint(width, (len(x),), generator=generator) - square // 2
    down = torch.arange(height, device=x.device)[:, None] - _per_image(top, x)
    right = torch.arange(width, device=x.device) - _per_image(left, x)
    inside = (down >= 0) & (down < square) & (right >= 0) & (right < square)
    return torch.where(inside, torch.zeros((), dtype=x.dtype, device=x.device), x)


def _per_image(values: Tensor, x: Tensor) -> Tensor:
    """Return one value per image in a shape that is broadcast against the images."""
    return values.to(x.device).reshape(-1, *(1,) * (x.ndim - 1))

"""Preprocessing of images that are stored as bytes: ``preprocess: {factory: "proponent.settings.pixels:normalized"}``."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def normalized(images: Tensor, mean: Sequence[float], deviation: Sequence[float]) -> Tensor:
    """Return images as numbers with about mean 0 and deviation 1 per channel.

    Args:
        images: (n, channels, height, width) bytes.
        mean: mean of each channel over the training set, where 255 is 1.
        deviation: standard deviation of each channel, in the same unit.
    """
    numbers = images.float() / 255
    return (numbers - numbers.new_tensor(mean)[:, None, None]) / numbers.new_tensor(deviation)[:, None, None]

"""Pictures and heat maps as PNG, for pages without a network."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

POSITIVE, NEGATIVE = (0, 114, 178), (213, 94, 0)
"""Blue and vermilion of Okabe and Ito, which colour-blind readers can distinguish."""


def png_bytes(picture: NDArray[np.floating[Any]]) -> bytes:
    """Return a picture as PNG.

    Args:
        picture: (height, width) grey values, or (height, width, 3 or 4) colours, between 0 and 1.
    """
    stream = io.BytesIO()
    Image.fromarray((picture.clip(0, 1) * 255).round().astype(np.uint8)).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def data_uri(content: bytes) -> str:
    """Return a PNG as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def heat_map(values: NDArray[np.floating[Any]], shape: Sequence[int]) -> NDArray[np.float64]:
    """Return contributions of pixels as colours: blue raises the score, vermilion lowers it, white does neither.

    Args:
        values: contributions, of any shape with the elements of the image.
        shape: (height, width), (channels, height, width) or (height, width, channels); channels are summed.

    Returns:
        (height, width, 3) colours between 0 and 1, relative to the largest absolute contribution.
    """
    pixels = summed_channels(values, shape)
    largest = np.abs(pixels).max()
    strength = np.abs(pixels)[..., None] / (largest or 1.0)
    colour = np.where(pixels[..., None] >= 0, POSITIVE, NEGATIVE) / 255
    return 1 - strength * (1 - colour)


def summed_channels(values: NDArray[np.floating[Any]], shape: Sequence[int]) -> NDArray[np.float64]:
    """Return contributions of pixels, (height, width), summed over channels; arguments as in :func:`heat_map`."""
    pixels: NDArray[np.float64] = values.reshape(tuple(shape)).astype(np.float64)
    if pixels.ndim == 3:
        first, last = len(pixels), pixels.shape[-1]
        pixels = pixels.sum(0 if first == 1 or (first in (3, 4) and last != 1) else 2)
    return pixels


def token_colours(values: NDArray[np.floating[Any]]) -> list[str]:
    """Return the background of each token as a colour of CSS, in the colours of :func:`heat_map`.

    Args:
        values: (length,) contributions.
    """
    largest = float(np.abs(values).max(initial=0.0)) or 1.0
    return [
        "rgba({}, {}, {}, {:.2f})".format(
            *(POSITIVE if value >= 0 else NEGATIVE), 0.75 * abs(value) / largest
        )
        for value in values.tolist()
    ]

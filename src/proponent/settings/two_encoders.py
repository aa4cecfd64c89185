"""Two encoders, of pictures and of titles, for a contrastive loss as in CLIP (Radford et al., 2021)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from proponent.settings.models import convnet

_TEMPERATURE = 0.07
"""Initial temperature of CLIP."""


class TwoEncoders(nn.Module):
    """Similarities of a picture with its own title and others, and of the title with its own picture and others.

    Args:
        vocabulary: number of tokens; 0 is padding.
        width: width of both embeddings.
        channels: channels of the convolutions of the picture encoder.
    """

    def __init__(self, vocabulary: int, width: int, channels: list[int]) -> None:
        super().__init__()
        self.pictures = convnet(3, width, channels, pooled=2)
        self.words = nn.Embedding(vocabulary, width)
        self.titles = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / _TEMPERATURE)))

    def forward(self, image: Tensor, title: Tensor, other_images: Tensor, other_titles: Tensor) -> Tensor:
        """Return the similarities times the inverse temperature, (n, 2, 1 + K); the own partner is in column 0.

        Args:
            image: pictures in [0, 1], (n, 3, height, width).
            title: token numbers, (n, length).
            other_images: other pictures, (n, K, 3, height, width).
            other_titles: other titles, (n, K, length).
        """
        images = torch.cat([image[:, None], other_images], 1)
        seen = self.pictures(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        read = self._read(torch.cat([title[:, None], other_titles], 1))
        seen, read = normalize(seen, dim=-1), normalize(read, dim=-1)
        to_titles = (seen[:, :1] * read).sum(-1)
        to_images = (read[:, :1] * seen).sum(-1)
        return self.log_scale.exp() * torch.stack([to_titles, to_images], 1)

    def _read(self, tokens: Tensor) -> Tensor:
        """Return the embeddings of titles, (..., width): of the mean of their words, without padding."""
        present = (tokens != 0).unsqueeze(-1)
        mean = (self.words(tokens) * present).sum(-2) / present.sum(-2)
        return self.titles(mean)


def two_encoders(vocabulary: int, width: int = 64, channels: list[int] | None = None) -> nn.Module:
    """Return the encoders of pictures and titles; arguments as in :class:`TwoEncoders`.

    Args:
        vocabulary: number of tokens.
        width: width of both embeddings.
        channels: channels of the convolutions, each of which halves the picture; 16, 32 and 32 if they are not given.
    """
    return TwoEncoders(vocabulary, width, [16, 32, 32] if channels is None else channels)


def pictures_in_unit_range(
    image: Tensor, title: Tensor, other_images: Tensor, other_titles: Tensor
) -> dict[str, Tensor]:
    """Return the inputs with pictures as numbers in [0, 1] in place of bytes; shapes as in :class:`TwoEncoders`."""
    return {
        "image": image.float() / 255,
        "title": title,
        "other_images": other_images.float() / 255,
        "other_titles": other_titles,
    }

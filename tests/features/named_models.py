"""A network with three inputs, and the same network with all of them packed into one tensor, for the oracles."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from proponent.rows import NamedRows

CLASSES = 3


class Towers(nn.Module):
    """A convolution of the image, a linear map of the table, and the mean embedding of the tokens under a mask."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Unflatten(1, (1, 3)), nn.Conv2d(1, 2, 2), nn.Flatten())
        self.table = nn.Linear(2, 3)
        self.words = nn.Embedding(6, 3)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(12 + 3 + 3, CLASSES))

    def forward(self, image: Tensor, table: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return the logits (n, 3)."""
        kept = mask[..., None].to(table.dtype)
        text = (self.words(tokens) * kept).sum(1) / kept.sum(1)
        hidden = torch.cat([self.image(image), self.table(table), text], dim=1)
        return self.head(torch.tanh(hidden))


class Packed(nn.Module):
    """The same network, whose only input holds all of them one after the other."""

    def __init__(self, towers: Towers) -> None:
        super().__init__()
        self.towers = towers

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (n, 3)."""
        image, table, tokens, mask = x.split([12, 2, 4, 4], dim=1)
        return self.towers(image.unflatten(1, (3, 4)), table, tokens.long(), mask > 0)


def build(seed: int, dropout: float = 0.0) -> Towers:
    """Return the network in float64."""
    torch.manual_seed(seed)
    return Towers(dropout).double()


def rows(n: int, *, positional: bool, seed: int = 0) -> tuple[NamedRows, Tensor, Tensor]:
    """Return inputs by keyword or by position, the same packed, and labels."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(n, 3, 4, generator=generator, dtype=torch.float64)
    table = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    tokens = torch.randint(0, 6, (n, 4), generator=generator)
    mask = torch.arange(4) < torch.randint(1, 5, (n, 1), generator=generator)
    y = torch.randint(0, CLASSES, (n,), generator=generator)
    packed = torch.cat([image.flatten(1), table, tokens.double(), mask.double()], dim=1)
    names = ("x0", "x1", "x2", "x3") if positional else ("image", "table", "tokens", "mask")
    tensors = dict(zip(names, (image, table, tokens, mask), strict=True))
    if not positional:  # the order of a dictionary does not matter
        tensors = dict(sorted(tensors.items(), reverse=True))
    return NamedRows(tensors, positional=positional), packed, y

"""Networks of the comparison, in plain torch, so that every environment can build them."""

from __future__ import annotations

from torch import nn


def mlp() -> nn.Module:
    """Return the 784-128-64-10 ReLU network of the setting ``mnist-mlp``; 109,386 parameters."""
    return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))


def conv() -> nn.Module:
    """Return a network of two convolutions and one linear layer for images of 28 x 28 pixels; 7,690 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(4, stride=4),
        nn.Flatten(),
        nn.Linear(288, 10),
    )


NETWORKS = {"mlp": mlp, "conv": conv}
LAST_LAYER = {"mlp": "4", "conv": "7"}
"""Names of the last linear layers."""

"""Model factories of the built-in settings; plain modules with torch's own initialisation."""

from __future__ import annotations

from torch import Tensor, nn

from proponent.config.load import nearest
from proponent.errors import UserError

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}


def logistic_regression(n_features: int, n_classes: int) -> nn.Module:
    """Return one linear layer from features to logits.

    Args:
        n_features: width of the input.
        n_classes: width of the output.
    """
    return nn.Linear(n_features, n_classes)


def linear_regression(n_features: int, n_outputs: int = 1) -> nn.Module:
    """Return one linear layer without bias, for features and labels of mean 0.

    Args:
        n_features: width of the input.
        n_outputs: width of the output.
    """
    return nn.Linear(n_features, n_outputs, bias=False)


def mlp(
    n_features: int, hidden: list[int], n_classes: int, activation: str = "relu", dropout: float = 0.0
) -> nn.Module:
    """Return a multi-layer perceptron.

    Args:
        n_features: width of the input.
        hidden: widths of the hidden layers.
        n_classes: width of the output.
        activation: activation after each hidden layer: ``relu``, ``tanh``, ``gelu`` or ``silu``.
        dropout: probability of dropping a hidden unit during training.

    Raises:
        UserError: the activation is not known.
    """
    if activation not in _ACTIVATIONS:
        raise UserError(f"model: unknown activation '{activation}'{nearest(activation, _ACTIVATIONS)}")
    layers: list[nn.Module] = []
    width = n_features
    for size in hidden:
        layers += [nn.Linear(width, size), _ACTIVATIONS[activation]()]
        if dropout > 0:
            layers.append(nn.Dropout(dropout))
        width = size
    return nn.Sequential(*layers, nn.Linear(width, n_classes))


def convnet(channels: int, n_classes: int, widths: list[int], pooled: int = 1) -> nn.Module:
    """Return a small convolutional network: 3 x 3 convolutions with ReLU and max-pooling, and a linear layer.

    Args:
        channels: channels of the images (n, channels, height, width).
        n_classes: width of the output.
        widths: channels of the convolutions; each is followed by pooling, which halves height and width.
        pooled: height and width to which the last features are averaged.
    """
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        channels = width
    head = nn.Linear(channels * pooled**2, n_classes)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(pooled), nn.Flatten(), head)


class Residual(nn.Module):
    """A residual connection: the input plus what ``body`` makes of it."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum."""
        return x + self.body(x)


def resnet9(channels: int, classes: int, width: int = 64) -> nn.Module:
    """Return ResNet-9 with batch normalisation: the network of TRAK's CIFAR-10 experiments (Park et al., 2023).

    Eight convolutions, of which four are in two residual blocks, and one linear layer. All convolutions are padded here, so
    that images of 4 x 4 pixels are large enough, and the logits are not scaled.

    Args:
        channels: channels of the images (n, channels, height, width).
        classes: width of the output.
        width: channels of the first convolution; later ones have two and four times as many.
    """

    def convolution(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )

    def residual(size: int) -> Residual:
        return Residual(nn.Sequential(convolution(size, size), convolution(size, size)))

    return nn.Sequential(
        convolution(channels, width),
        convolution(width, 2 * width, size=5, stride=2),
        residual(2 * width),
        convolution(2 * width, 4 * width),
        nn.MaxPool2d(2),
        residual(4 * width),
        convolution(4 * width, 2 * width),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, classes),
    )


def spectrogram_net(classes: int, width: int = 16) -> nn.Module:
    """Return a small convolutional network for spectrograms (n, 1, bands, frames), without batch normalisation.

    Three convolutions, each of which halves bands and frames, a mean over time, and one linear layer.

    Args:
        classes: width of the output.
        width: channels of the first convolution; the later ones have twice as many.
    """
    return nn.Sequential(
        nn.Conv2d(1, width, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d((4, 5)),
        nn.Flatten(),
        nn.Linear(2 * width * 20, classes),
    )

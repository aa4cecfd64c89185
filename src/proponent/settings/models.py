"""Model factories of the built-in settings; plain modules with torch's own initialisation."""

from __future__ import annotations

from torch import nn

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

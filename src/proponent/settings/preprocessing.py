"""Preprocessing of inputs in front of a model: rows are stored as they are, and become numbers batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from proponent.config.recipe_schema import Precision
from proponent.settings.floating_types import converted_data


class Preprocess:
    """Hook in front of a model's forward pass, so that no parameter has another name.

    Args:
        function: function of the inputs as the model takes them: of one tensor, of the tensors of a tuple by position, or
            of those of a dictionary by keyword. It returns a tensor, a tuple or a dictionary, which the model is given.
        precision: type of the floating point numbers that it returns.
    """

    def __init__(self, function: Callable[..., Any], precision: Precision) -> None:
        if isinstance(function, nn.Module):
            function = function.eval().requires_grad_(False)
        self._function, self._precision = function, precision

    def __call__(
        self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of the model's forward pass."""
        found = self._function(*args, **kwargs)
        if isinstance(found, Mapping):
            return (), {name: self._converted(value) for name, value in found.items()}
        values = found if isinstance(found, (tuple, list)) else (found,)
        return tuple(self._converted(value) for value in values), {}

    def _converted(self, value: Any) -> Any:
        return converted_data(value, self._precision) if isinstance(value, Tensor) else value


def put_in_front(model: nn.Module, preprocess: Preprocess) -> nn.Module:
    """Return the model, whose forward pass preprocesses its inputs first."""
    model.register_forward_pre_hook(preprocess, prepend=True, with_kwargs=True)
    return model


def preprocess_of(model: nn.Module) -> Preprocess | None:
    """Return what is in front of a model's forward pass; None for nothing."""
    return next((hook for hook in model._forward_pre_hooks.values() if isinstance(hook, Preprocess)), None)

"""Random changes of the inputs of a training batch, which follow from the seed of a training and the step alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Generator, Tensor

from proponent.config.model_schema import FactoryConfig
from proponent.errors import UserError
from proponent.rows import NamedRows, Rows
from proponent.seeds import derive_seed
from proponent.settings.imported_callables import function_of

Augmentation = Callable[[Any, Generator], Any]
"""Function from inputs (a tensor, or a tuple or dictionary of tensors) and a generator to inputs of the same form."""


class Augment:
    """An augmentation, with a generator of its own for each step of each training.

    Args:
        function: augmentation.
    """

    def __init__(self, function: Augmentation) -> None:
        self._function = function

    def __call__(self, x: Rows, order_seed: int, step: int) -> Rows:
        """Return the inputs of a batch with which optimiser step ``step`` of a training is made.

        Args:
            x: (b, ...) inputs, which stay as they are.
            order_seed: seed of the training's order of examples.
            step: number of optimiser steps made before.

        Raises:
            UserError: the augmentation returns other inputs than a tensor, or than tensors of the same names.
        """
        generator = Generator().manual_seed(derive_seed(order_seed, "augment", step))
        if isinstance(x, Tensor):
            found = self._function(x, generator)
            if not isinstance(found, Tensor):
                raise UserError(f"augment returns a {type(found).__name__}; return a tensor, as it is given")
            return found
        given: Any = tuple(x.tensors.values()) if x.positional else dict(x.tensors)
        found = self._function(given, generator)
        if not x.positional and isinstance(found, Mapping) and set(found) == set(x.tensors):
            return NamedRows({name: found[name] for name in x.tensors})
        if x.positional and isinstance(found, (tuple, list)) and len(found) == len(x.tensors):
            return NamedRows(dict(zip(x.tensors, found, strict=True)), positional=True)
        form = f"a tuple of {len(given)} tensors" if x.positional else f"a dictionary of {', '.join(given)}"
        raise UserError(f"augment returns a {type(found).__name__}; return {form}, as it is given")


def build_augment(config: FactoryConfig | None) -> Augment | None:
    """Return the augmentation of a setting; None for none.

    The factory is a function of inputs and generator, with its arguments as further keywords, or a function of its arguments
    that returns one of inputs and generator.

    Raises:
        UserError: there is no such module or function, the arguments do not fit, or the result cannot be called.
    """
    if config is None:
        return None
    return Augment(function_of(config, "augment factory", "inputs and generator", 2))

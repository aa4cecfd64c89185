"""Datasets and models from factories that are named as ``"package.module:function"``."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from proponent.config.load import nearest
from proponent.config.schema import FactoryConfig, Precision
from proponent.errors import UserError
from proponent.random_state import seeded
from proponent.settings.floating_types import converted_model
from proponent.settings.model_preparation import prepare_model
from proponent.settings.split import Split


def build_dataset(config: FactoryConfig, seed: int) -> Split:
    """Call a dataset factory.

    Raises:
        UserError: :func:`build` fails, or the factory does not return a :class:`~proponent.settings.Split`.
    """
    split = build(config, seed)
    if not isinstance(split, Split):
        raise UserError(
            f"dataset factory '{config.factory}' must return a proponent.settings.Split, "
            f"not a {type(split).__name__}"
        )
    return split


def build_model(config: FactoryConfig, seed: int, precision: Precision = Precision.float32) -> nn.Module:
    """Call a model factory; its random initialisation depends on ``seed`` alone.

    Args:
        config: factory of the model.
        seed: seed of the global generators during the call.
        precision: ``recipe.precision``, which decides the type of the parameters (:mod:`.floating_types`).

    Raises:
        UserError: :func:`build` fails, the factory does not return an ``nn.Module``, or the engines cannot train it.
    """
    model = build(config, seed)
    if not isinstance(model, nn.Module):
        raise UserError(
            f"model factory '{config.factory}' must return a torch.nn.Module, not a {type(model).__name__}"
        )
    try:
        return converted_model(prepare_model(model), precision)
    except UserError as error:
        raise UserError(f"model factory '{config.factory}': {error}") from error


def build(config: FactoryConfig, seed: int) -> Any:
    """Import a factory and call it with its arguments.

    The global generators of Python, NumPy and torch are seeded for the import and the call, and restored after it.

    Raises:
        UserError: there is no such module or function, or the arguments do not fit the function.
    """
    with seeded(
        0
    ):  # a module may draw when it is imported, which happens once, whatever the seed of the first call
        function = _load(config.factory)
    _check_arguments(function, config)
    with seeded(seed):
        return function(**config.args)


def _load(factory: str) -> Callable[..., Any]:
    module_name, colon, name = factory.partition(":")
    if not (module_name and colon and name):
        raise UserError(f"factory '{factory}' must read 'package.module:function'")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # The missing module may be one that the factory's own module imports; the message names the right one.
        raise UserError(
            f"factory '{factory}': there is no module '{error.name}'; modules are searched in installed packages "
            "and in the checkout's root"
        ) from error
    function: Any = module
    for part in name.split("."):  # a method of a class, or an attribute of an imported object
        function = getattr(function, part, None)
    if not callable(function):
        functions = [
            key for key, value in vars(module).items() if callable(value) and not key.startswith("_")
        ]
        raise UserError(
            f"factory '{factory}': module '{module_name}' has no function '{name}'{nearest(name, functions)}"
        )
    found: Callable[..., Any] = function
    return found


def _check_arguments(function: Callable[..., Any], config: FactoryConfig) -> None:
    parameters = inspect.signature(function).parameters.values()
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    valid = [p.name for p in named]
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        for key in config.args:
            if key not in valid:
                raise UserError(
                    f"factory '{config.factory}': unexpected argument '{key}'{nearest(key, valid)}"
                )
    missing = [p.name for p in named if p.default is p.empty and p.name not in config.args]
    if missing:
        raise UserError(f"factory '{config.factory}': args lacks {', '.join(missing)}")

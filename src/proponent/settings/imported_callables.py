"""Functions and classes that a configuration names as ``package.module:function``."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from proponent.config.load import nearest
from proponent.config.model_schema import FactoryConfig
from proponent.errors import UserError
from proponent.extras import how_to_install
from proponent.random_state import seeded


def call_factory(config: FactoryConfig, seed: int, kind: str = "factory") -> Any:
    """Import a factory and call it with its arguments.

    The global generators of Python, NumPy and torch are seeded for the import and the call, and restored after it.

    Args:
        config: name and arguments.
        seed: seed of the call.
        kind: word for the factory in messages.

    Raises:
        UserError: there is no such module or function, or the arguments do not fit the function.
    """
    function = imported(config.factory, kind)
    _check_arguments(function, config, kind)
    with seeded(seed):
        return function(**config.args)


def function_of(config: FactoryConfig, kind: str, what: str, count: int | None = None) -> Callable[..., Any]:
    """Return a function that a setting names: itself, with its arguments as further keywords, or what a factory returns.

    It is the function itself if it has parameters without a default that ``args`` does not give. Keyword-only ones count
    where the number of arguments is not fixed.

    Args:
        config: name, arguments.
        kind: subject of messages.
        what: arguments of the function, for messages.
        count: number of its arguments; None for any number.

    Raises:
        UserError: there is no such module or function, the arguments do not fit, or the result cannot be called.
    """
    function = imported(config.factory, kind)
    kind_of = inspect.Parameter
    given = [kind_of.POSITIONAL_ONLY, kind_of.POSITIONAL_OR_KEYWORD]
    by_keyword = [kind_of.KEYWORD_ONLY] if count is None else []  # a dictionary of inputs
    to_give = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind in (*given, *by_keyword)
        and parameter.default is parameter.empty
        and parameter.name not in config.args
    ]
    if to_give and count in (None, len(to_give)):
        return partial(function, **config.args)
    made = call_factory(config, 0, kind)
    if not callable(made):
        raise UserError(
            f"{kind} '{config.factory}' must be a function of {what}, or return one, not a {type(made).__name__}"
        )
    found: Callable[..., Any] = made
    return found


def imported(name: str, kind: str = "factory") -> Callable[..., Any]:
    """Return the function or class with a name ``package.module:function``.

    Args:
        name: its name.
        kind: word for the function in messages.

    Raises:
        UserError: there is no such module or function.
    """
    # A module may draw when it is imported, which happens once, whatever the seed of the first call.
    with seeded(0):
        return _load(name, kind)


def _load(factory: str, kind: str) -> Callable[..., Any]:
    module_name, colon, name = factory.partition(":")
    if not (module_name and colon and name):
        raise UserError(f"{kind} '{factory}' must read 'package.module:function'")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # The missing module may be one that the factory's own module imports; the message names the right one.
        raise UserError(
            f"{kind} '{factory}': there is no module '{error.name}' in the checkout's root or among installed packages; "
            f"correct the name, or {how_to_install(str(error.name))}"
        ) from error
    function: Any = module
    for part in name.split("."):  # a method of a class, or an attribute of an imported object
        function = getattr(function, part, None)
    if not callable(function):
        functions = [
            key for key, value in vars(module).items() if callable(value) and not key.startswith("_")
        ]
        raise UserError(
            f"{kind} '{factory}': module '{module_name}' has no function '{name}'{nearest(name, functions)}"
        )
    found: Callable[..., Any] = function
    return found


def _check_arguments(function: Callable[..., Any], config: FactoryConfig, kind: str) -> None:
    parameters = inspect.signature(function).parameters.values()
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    valid = [p.name for p in named]
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        for key in config.args:
            if key not in valid:
                raise UserError(
                    f"{kind} '{config.factory}': unexpected argument '{key}'{nearest(key, valid)}"
                )
    missing = [p.name for p in named if p.default is p.empty and p.name not in config.args]
    if missing:
        raise UserError(f"{kind} '{config.factory}': args lacks {', '.join(missing)}")

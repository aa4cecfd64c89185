"""Hyper-parameters of ``self_influence``, which a method declares once, in the signature of ``attribute``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from proponent.errors import UserError


def self_influence_params(
    attribute: Callable[..., Any],
    self_influence: Callable[..., Any],
    configured: Mapping[str, Any],
    constants: Mapping[str, Any],
    source: str = "",
) -> dict[str, Any]:
    """Return the keyword arguments with which ``self_influence`` is called.

    The candidate that tuning chose plays no part: the hyper-parameters that predict retrainings best are not those that
    find wrong labels best.

    Args:
        attribute: declares every hyper-parameter with its default.
        self_influence: names the hyper-parameters that it uses, in its keyword-only arguments.
        configured: ``params`` of the method's YAML; they have precedence over everything else.
        constants: ``SELF_INFLUENCE`` of the method's module, values that differ from those of ``attribute`` on purpose.
        source: the file that configures the method, the beginning of an error.

    Returns:
        A value for each keyword-only argument of ``self_influence``, except those that have a default of their own and
        that neither ``configured`` nor ``constants`` sets.

    Raises:
        UserError: an argument has no value.
    """
    defaults = _keyword_only(attribute)
    wanted = _keyword_only(self_influence)
    given = {**defaults, **constants, **configured}
    params: dict[str, Any] = {}
    for name, default in wanted.items():
        if name in configured or name in constants:
            params[name] = given[name]
        elif default is inspect.Parameter.empty:
            if given.get(name, inspect.Parameter.empty) is inspect.Parameter.empty:
                raise UserError(f"{source}: self_influence needs a value of '{name}'; give it under params")
            params[name] = given[name]
    return params


def accepts(function: Callable[..., Any], keyword: str) -> bool:
    """Return whether ``function`` has a keyword-only argument of this name."""
    return keyword in _keyword_only(function)


def _keyword_only(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {item.name: item.default for item in parameters if item.kind is inspect.Parameter.KEYWORD_ONLY}

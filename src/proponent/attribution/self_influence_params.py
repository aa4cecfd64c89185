"""Hyper-parameters of ``self_influence``, which a method declares once, in the signature of ``attribute``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from proponent.errors import UserError

_Kind = inspect.Parameter


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
    given = {**_hyper_parameters(attribute), **constants, **configured}
    wanted = _hyper_parameters(self_influence)
    if any(item.kind is _Kind.VAR_KEYWORD for item in inspect.signature(self_influence).parameters.values()):
        wanted = {**dict.fromkeys(given, _Kind.empty), **wanted}
    params: dict[str, Any] = {}
    for name, default in wanted.items():
        if default is not _Kind.empty and name not in configured and name not in constants:
            continue
        if given.get(name, _Kind.empty) is _Kind.empty:
            raise UserError(f"{source}: self_influence needs a value of '{name}'; give it under params")
        params[name] = given[name]
    return params


def accepts(function: Callable[..., Any], name: str) -> bool:
    """Return whether ``function`` has a hyper-parameter of this name."""
    return name in _hyper_parameters(function)


def _hyper_parameters(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the arguments that are keyword-only or have a default, and their defaults."""
    parameters = inspect.signature(function).parameters.values()
    return {
        item.name: item.default
        for item in parameters
        if item.kind is _Kind.KEYWORD_ONLY or item.default is not _Kind.empty
    }

"""Values of a configuration in the types that their dataclass or function declares, before they are validated.

Names stay as they are written (``1e3``, ``012``), a whole number given for a fraction becomes one (``1`` and ``1.0``
give the same key), and what cannot be part of a key is refused: interpolation, infinities, dates.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from proponent.config.yaml_reader import WrittenFloat, WrittenInt
from proponent.errors import UserError


def typed(value: Any, hint: Any, source: str, where: str = "") -> Any:
    """Return ``value`` as ``hint`` declares it, as far as its meaning is certain; validation refuses the rest.

    Args:
        value: content of a YAML file or flag.
        hint: type of a field, an annotation of an argument, or a dataclass.
        source: file or flag that holds the value, the beginning of every error.
        where: dotted path of the value in it.

    Raises:
        UserError: the value holds an interpolation, or is neither text, number, boolean, list nor mapping.
    """
    if isinstance(value, Mapping):
        inner = _of_mapping(hint)
        below = {name: f"{where}.{name}" if where else str(name) for name in value}
        return {name: typed(item, inner(name), source, below[name]) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        item_hint = next(
            (typing.get_args(one)[0] for one in _options(hint) if typing.get_origin(one) is list), Any
        )
        return [typed(item, item_hint, source, f"{where}[{place}]") for place, item in enumerate(value)]
    return _scalar(value, _options(hint), source, where)


def _of_mapping(hint: Any) -> Any:
    """Return a function that gives the hint of an entry of a mapping by its name."""
    for one in _options(hint):
        if dataclasses.is_dataclass(one) and isinstance(one, type):
            hints = typing.get_type_hints(one)
            return lambda name: hints.get(name, Any)
        if typing.get_origin(one) is dict:
            return lambda _: typing.get_args(one)[1]
    return lambda _: Any


def _options(hint: Any) -> tuple[Any, ...]:
    """Return the members of a union; the hint itself if it is not a union."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return typing.get_args(hint)
    return (hint,)


def _scalar(value: Any, options: tuple[Any, ...], source: str, where: str) -> Any:
    at = f"{source}: {where}" if where else source
    if isinstance(value, str):
        if "${" in value:
            raise UserError(
                f"{at}: '{value}' is not interpolated, because its value would differ between users and machines; "
                "write the value itself"
            )
        return value
    is_text = str in options and not {int, float, bool} & set(options)
    if is_text and (isinstance(value, bool) or (value is None and type(None) not in options)):
        what = "null stands for no value" if value is None else f"{str(value).lower()} is a boolean"
        raise UserError(f"{at}: {what}; put it in quotes if it is text")
    if value is None or isinstance(value, bool):
        return value
    if not isinstance(value, (int, float)):
        raise UserError(
            f"{at}: a value of type {type(value).__name__} has no place in a configuration; write it in quotes"
        )
    if is_text:
        return value.text if isinstance(value, (WrittenInt, WrittenFloat)) else str(value)
    if not math.isfinite(value):
        raise UserError(f"{at}: {value} is not a finite number")
    if isinstance(value, int):
        return float(value) if float in options and int not in options else int(value)
    return int(value) if int in options and float not in options and value.is_integer() else float(value)

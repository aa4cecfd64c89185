"""Restoring dataclasses from the JSON of a key file."""

from __future__ import annotations

import dataclasses
import types
import typing
from enum import Enum
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


def parse(kind: type[T], value: Any) -> T:
    """Return an instance of ``kind`` from the JSON that :func:`proponent.config.digests.keys.plain` made of one.

    A job parses what the plan has validated, so this only restores types. OmegaConf, which validates configuration, would
    add its import to each of some hundred jobs.

    Raises:
        TypeError: the content has other fields than the dataclass.
    """
    return typing.cast(T, _restore(kind, value))


def _restore(kind: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        (kind,) = (option for option in arguments if option is not type(None))
        return _restore(kind, value)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = _hints(kind)
        unknown = set(value) - set(hints)
        if unknown:
            raise TypeError(f"{kind.__name__} has no field '{min(unknown)}'")
        return kind(**{name: _restore(hints[name], entry) for name, entry in value.items()})
    if origin is tuple:
        return tuple(_restore(arguments[0], entry) for entry in value)
    if origin is list:
        return [_restore(arguments[0], entry) for entry in value]
    if origin is dict:
        return {name: _restore(arguments[1], entry) for name, entry in value.items()}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    fields = {entry.name for entry in dataclasses.fields(kind)}
    return {name: hint for name, hint in typing.get_type_hints(kind).items() if name in fields}

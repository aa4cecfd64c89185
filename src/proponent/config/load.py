"""Content of YAML files as validated dataclasses; a mistake is one line: the file, the key and the nearest valid name."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from proponent.config.typed_values import typed
from proponent.errors import UserError

C = TypeVar("C")


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the nearest of ``valid``, or the whole list if none is near."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; valid: {', '.join(names)}" if names else ""


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``over`` merged into it, mapping by mapping; lists are replaced."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


_MEANING = {
    "is not a ListConfig": "must be a list, for example [a, b]",
    "Cannot convert 'ListConfig' to string": "must be text, not a list",
    "Cannot convert 'DictConfig' to string": "must be text, not a mapping",
}
"""What messages of OmegaConf, by a part of them, say of the value."""


def structured(schema: type[C], content: Mapping[str, Any], source: str) -> C:
    """Validate ``content`` against the dataclass ``schema`` and return an instance of it.

    Args:
        schema: a dataclass of a module ``*_schema`` of this package.
        content: plain mappings, lists and scalars.
        source: file or option that holds the content, the beginning of every error.

    Raises:
        UserError: a key is unknown, or a value is missing, has the wrong type, or is refused by ``__post_init__``.
    """
    # Imported here: jobs use the other functions of this module, and the import costs 0.1 CPU seconds in each of them.
    from omegaconf import OmegaConf
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

    _check_keys(schema, content, source, "")
    try:
        values = OmegaConf.create(typed(content, schema, source))
        merged = OmegaConf.merge(OmegaConf.structured(schema), values)
        return typing.cast(C, OmegaConf.to_object(merged))
    except MissingMandatoryValue as error:
        raise UserError(f"{source}: '{error.full_key}' is missing") from error
    except OmegaConfBaseException as error:
        first = str(error).splitlines()[0]
        reason = next((said for part, said in _MEANING.items() if part in first), first)
        raise UserError(f"{source}: {error.full_key or 'content'}: {reason}") from error
    except ValueError as error:
        raise UserError(f"{source}: {error}") from error


def _check_keys(schema: type, content: Mapping[str, Any], source: str, prefix: str) -> None:
    hints = typing.get_type_hints(schema)
    for key, value in content.items():
        where = f"{prefix}{key}"
        if key not in hints:
            raise UserError(f"{source}: unknown key '{where}'{nearest(str(key), hints)}")
        nested = _dataclass_in(hints[key])
        if nested is None or value is None:
            continue
        if _is_mapping_of(hints[key]):
            for name, entry in (value or {}).items():
                if isinstance(entry, Mapping):
                    _check_keys(nested, entry, source, f"{where}.{name}.")
        elif typing.get_origin(hints[key]) is list:
            if not isinstance(value, list) or not all(isinstance(entry, Mapping) for entry in value):
                keys = ", ".join(typing.get_type_hints(nested))
                raise UserError(f"{source}: '{where}' must hold a list of keys ({keys}), not {value!r}")
            for index, entry in enumerate(value):
                structured(nested, entry, f"{source}: {where}[{index}]")
        elif not isinstance(value, Mapping):
            raise UserError(
                f"{source}: '{where}' must hold keys ({', '.join(typing.get_type_hints(nested))}), not {value!r}"
            )
        else:
            _check_keys(nested, value, source, f"{where}.")
    for entry in dataclasses.fields(schema):
        mandatory = entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
        if mandatory and entry.name not in content:
            raise UserError(f"{source}: '{prefix}{entry.name}' is missing")


def _dataclass_in(hint: Any) -> type | None:
    if dataclasses.is_dataclass(hint):
        return typing.cast(type, hint)
    for argument in typing.get_args(hint):
        if dataclasses.is_dataclass(argument):
            return typing.cast(type, argument)
    return None


def _is_mapping_of(hint: Any) -> bool:
    return typing.get_origin(hint) is dict


def conforms(value: Any, annotation: Any) -> bool:
    """Return whether ``value`` fits ``annotation``: a scalar, Literal, Optional or a list of these; an int fits float."""
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return value in typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(conforms(value, option) for option in typing.get_args(annotation))
    if origin is list:
        (item,) = typing.get_args(annotation)
        return isinstance(value, list) and all(conforms(entry, item) for entry in value)
    if annotation is None or annotation is type(None):
        return value is None
    if annotation is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, annotation)

"""YAML files and flags, read by the rules of YAML 1.2 wherever they come from.

YAML 1.1, by which PyYAML and Snakemake read, takes ``on`` for a boolean, ``2024_06``, ``012`` and ``1:30`` for integers and
``1e-3`` for text. By the rules of YAML 1.2 (its core schema), only ``true`` and ``false`` are booleans, and all usual
spellings of decimal numbers are numbers. A number remembers how it is written, so that a setting can be called ``1e3``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from proponent.errors import UserError


class WrittenInt(int):
    """An integer and its text in the file."""

    text: str


class WrittenFloat(float):
    """A floating-point number and its text in the file."""

    text: str


class _Loader(yaml.SafeLoader):
    """The core schema of YAML 1.2; keys are text, and none is given twice."""


_Loader.yaml_implicit_resolvers = {}

_TAG = "tag:yaml.org,2002:"
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", "<<", ["<"]),
):
    _Loader.add_implicit_resolver(_TAG + _tag, re.compile(f"^(?:{_pattern})$"), _first)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    loader.flatten_mapping(node)
    found: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a name", key.start_mark)
        if key.value in found:
            raise yaml.constructor.ConstructorError(
                None, None, f"key '{key.value}' is given twice", key.start_mark
            )
        found[key.value] = loader.construct_object(value, deep=True)
    return found


def _int(loader: _Loader, node: yaml.ScalarNode) -> WrittenInt:
    base = {"0o": 8, "0x": 16}.get(node.value[:2], 10)
    number = WrittenInt(int(node.value[2:] if base != 10 else node.value, base))
    number.text = node.value
    return number


def _float(loader: _Loader, node: yaml.ScalarNode) -> WrittenFloat:
    number = WrittenFloat(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))
    number.text = node.value
    return number


_Loader.add_constructor(f"{_TAG}map", _mapping)
_Loader.add_constructor(f"{_TAG}int", _int)
_Loader.add_constructor(f"{_TAG}float", _float)


def parse_yaml(text: str, source: str | Path) -> Any:
    """Return the content of a YAML text.

    Args:
        text: the YAML.
        source: the file or flag that it comes from, the beginning of every error.

    Raises:
        UserError: it is not YAML, or a key is given twice.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        UserError: the file is missing, is not YAML, or does not hold a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    content = parse_yaml(text, path)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold 'key: value' pairs, not a {type(content).__name__}")
    return content

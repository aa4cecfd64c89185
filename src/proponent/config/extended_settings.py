"""Settings that extend another one: ``extends: NAME`` in their YAML, and the keys in which they differ."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from proponent.config.load import merge, nearest
from proponent.config.yaml_reader import read_yaml
from proponent.errors import UserError

EXTENDS = "extends"
_REPLACED = ("designs",)
"""Mappings of which a setting has its own entries only: a variant need not repeat all retrainings."""


def extended(root: Path, content: Mapping[str, Any], source: str) -> tuple[dict[str, Any], str]:
    """Return the content of a setting merged over that of the setting that it extends, and of those that this one extends.

    Mappings are merged key by key, and ``designs`` and all other values are replaced. A null takes the place of a value.

    Args:
        root: the checkout.
        content: content of the setting's YAML.
        source: file that holds it.

    Returns:
        The content without the key ``extends``, and the beginning of errors about it, which names the files.

    Raises:
        UserError: a setting that is extended does not exist, cannot be read, or extends itself.
    """
    folder, files = root / "configs/settings", [source]
    found = dict(content)
    while (parent := found.pop(EXTENDS, None)) is not None:
        valid = [entry.stem for entry in folder.glob("*.yaml")]
        if parent not in valid:
            raise UserError(
                f"{files[-1]}: {EXTENDS} names '{parent}', which does not exist{nearest(str(parent), valid)}"
            )
        if f"configs/settings/{parent}.yaml" in files:
            raise UserError(
                f"{files[-1]}: {EXTENDS} names '{parent}', which extends this setting; leave one out"
            )
        files.append(f"configs/settings/{parent}.yaml")
        base = read_yaml(folder / f"{parent}.yaml")
        own = {key: found[key] for key in _REPLACED if key in found}
        found = {**merge(base, found), **own}
        if EXTENDS in base:
            found[EXTENDS] = base[EXTENDS]
    return found, source if len(files) == 1 else f"{source} with {', '.join(files[1:])}"

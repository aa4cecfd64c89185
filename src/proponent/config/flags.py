"""Values of ``snakemake --config`` and ``--configfile``, read again by the rules that hold for ``params.yaml``.

Snakemake reads a file by YAML 1.1, the structured value of a flag as text throughout, and a simple one as Python, so
that the same value would be something else in each of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proponent.config.load import merge
from proponent.config.yaml_reader import parse_yaml, read_yaml
from proponent.errors import UserError


@dataclass(frozen=True)
class Flags:
    """What a run was started with.

    Attributes:
        files: values of ``--configfile``, later ones over earlier ones.
        entries: values of ``--config``, as ``key=value``, over those of the files.
        parsed: values as Snakemake read them, used if neither is given because it was started from Python.
    """

    files: Sequence[Path] = ()
    entries: Sequence[str] | None = None
    parsed: Mapping[str, Any] = field(default_factory=dict)

    def values(self) -> dict[str, Any]:
        """Return the values, to be merged over those of ``params.yaml``.

        Raises:
            UserError: a file cannot be read, or a value is not YAML.
        """
        if not self.entries and not self.files:
            return dict(self.parsed)
        values: dict[str, Any] = {}
        for path in self.files:
            values = merge(values, _read(path))
        for entry in self.entries or ():
            name, equals, text = entry.partition("=")
            if not (name.isidentifier() and equals):
                raise UserError(
                    f"--config: '{entry}' must read name=value, for example 'settings=[digits-lr]'"
                )
            values = merge(values, {name: parse_yaml(text, f"--config {name}")})
        return values


def _read(path: Path) -> dict[str, Any]:
    """Return the content of a file of values: JSON or YAML, as for Snakemake."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = read_yaml(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold 'key: value' pairs, not a {type(content).__name__}")
    if content.get("__use_yte__"):
        raise UserError(f"{path}: templates (__use_yte__) are not supported; write the values themselves")
    return content

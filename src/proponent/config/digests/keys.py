"""Content keys: a digest of everything that an artefact depends on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any


def plain(value: Any) -> Any:
    """Return ``value`` as JSON types: dataclasses become mappings, enums their values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {entry.name: plain(getattr(value, entry.name)) for entry in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return value


def canonical(value: Any) -> str:
    """Return JSON with sorted keys and no spaces: equal content gives equal text."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """Return the sha256 of the canonical JSON of ``value``."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def content_key(
    step: str,
    spec: Mapping[str, Any],
    sources: Mapping[str, str],
    files: Mapping[str, str],
    versions: Mapping[str, str],
    input_keys: Iterable[str],
) -> str:
    """Return the key of an artefact: a digest of its step, configuration, sources, versions and the keys of its inputs."""
    return digest(
        {
            "step": step,
            "spec": spec,
            "sources": sources,
            "files": files,
            "versions": versions,
            "inputs": sorted(input_keys),
        }
    )

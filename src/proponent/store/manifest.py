"""Manifests: what an artefact is, what it was made from, and whether its bytes are still those."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proponent.errors import UserError
from proponent.store.files import read_json, sha256, write_json

SUFFIX = ".manifest.json"


@dataclass
class Part:
    """One file of an artefact, beside its first."""

    path: str
    """Relative to the checkout, as all paths here."""
    sha256: str
    size: int


@dataclass
class Manifest:
    """The record beside an artefact, written last."""

    artefact: str
    key: str
    sha256: str
    size: int
    inputs: dict[str, str] = field(default_factory=dict)
    """Key by path of every artefact that this one was made from."""
    step: str = ""
    spec: dict[str, Any] = field(default_factory=dict)
    """Resolved slice of the configuration."""
    sources: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    """Digests of files that were read beside the inputs."""
    versions: dict[str, str] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    commit: str | None = None
    device: str = ""
    threads: int = 1
    seconds: float = 0.0
    peak_memory_mib: float = 0.0
    created_at: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    """What the step has to say: choices by memory budget, tuned hyper-parameters, diverged models…"""
    seal: str = ""
    """Digest of all the other fields: a hand edit shows."""

    @property
    def bytes(self) -> int:
        """Size of the artefact with all its parts."""
        return self.size + sum(part.size for part in self.parts)

    def expected_seal(self) -> str:
        """Return the seal that fits the other fields."""
        content = json.dumps(dataclasses.asdict(dataclasses.replace(self, seal="")), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def manifest_path(artefact: Path) -> Path:
    """Return where the manifest of ``artefact`` lies."""
    return artefact.with_name(f"{artefact.name}{SUFFIX}")


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Write the manifest of an artefact and a short one for each of its parts."""
    for part in manifest.parts:
        record = Manifest(
            part.path,
            manifest.key,
            part.sha256,
            part.size,
            step=manifest.step,
            created_at=manifest.created_at,
        )
        record.details = {"part_of": manifest.artefact}
        _write(root, record)
    _write(root, manifest)


def _write(root: Path, manifest: Manifest) -> None:
    sealed = dataclasses.replace(manifest, seal=manifest.expected_seal())
    write_json(manifest_path(root / manifest.artefact), dataclasses.asdict(sealed))


def read_manifest(artefact: Path) -> Manifest | None:
    """Read the manifest of an artefact; None where there is none.

    Raises:
        UserError: the manifest is not one.
    """
    path = manifest_path(artefact)
    if not path.exists():
        return None
    content = read_json(path)
    try:
        parts = [Part(**part) for part in content.pop("parts", [])]
        manifest = Manifest(**content, parts=parts)
        _check_types(manifest, *parts)
    except (TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a manifest ({error}); delete it and run snakemake again") from error
    return manifest


def _check_types(*records: Manifest | Part) -> None:
    for record in records:
        for name, kind in (("sha256", str), ("size", int), ("inputs", dict), ("details", dict)):
            value: object = getattr(record, name, kind())
            if not isinstance(value, kind):
                raise TypeError(f"{name} is {value!r}")


def is_whole(root: Path, artefact: str, key: str) -> bool:
    """Return whether the artefact is there with this key and the sizes its manifest states. Reads no contents."""
    try:
        manifest = read_manifest(root / artefact)
    except UserError:
        return False
    if manifest is None or manifest.key != key:
        return False
    return all(_has_size(root / path, size) for path, size in _files(manifest))


def check_bytes(root: Path, artefact: str) -> Manifest:
    """Compare an artefact and its parts with its manifest, byte for byte.

    Raises:
        UserError: something is missing, truncated or altered.
    """
    path = root / artefact
    manifest = read_manifest(path)
    if manifest is None:
        raise UserError(f"{artefact}: has no manifest; delete it and run snakemake again")
    digests = {manifest.artefact: manifest.sha256, **{part.path: part.sha256 for part in manifest.parts}}
    for name, size in _files(manifest):
        if not (root / name).is_file():
            raise UserError(f"{name}: missing; run snakemake again")
        if not _has_size(root / name, size):
            found = (root / name).stat().st_size
            raise UserError(
                f"{name}: truncated or altered ({found} bytes, {size} expected); delete it and run snakemake again"
            )
        if sha256(root / name) != digests[name]:
            raise UserError(
                f"{name}: corrupt, its bytes are not those of its manifest; delete it and run snakemake again"
            )
    return manifest


def _files(manifest: Manifest) -> list[tuple[str, int]]:
    return [(manifest.artefact, manifest.size), *((part.path, part.size) for part in manifest.parts)]


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False

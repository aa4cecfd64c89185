"""Manifests: the record next to each artefact of its content, its inputs and how it was made."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proponent.errors import UserError
from proponent.store.files import read_json, sha256, write_json

SUFFIX = ".manifest.json"


@dataclass
class Part:
    """One file of an artefact."""

    path: str
    """Relative to the checkout, like all paths in a manifest."""
    sha256: str
    size: int


@dataclass
class Manifest:
    """The record of an artefact, written after all its files: an artefact without one does not count as made."""

    artefact: str
    key: str
    sha256: str
    size: int
    inputs: dict[str, str] = field(default_factory=dict)
    """Key of every input artefact, by path."""
    input_digests: dict[str, str] = field(default_factory=dict)
    """Content digest of every input artefact, by path: the bytes that were used, which the keys alone do not tell."""
    step: str = ""
    spec: dict[str, Any] = field(default_factory=dict)
    """Specification of the step, resolved from the configuration."""
    sources: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    """Digests of files that were read in addition to the inputs."""
    versions: dict[str, str] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    """Further files of the artefact."""
    commit: str | None = None
    device: str = ""
    threads: int = 1
    seconds: float = 0.0
    peak_memory_mib: float = 0.0
    created_at: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    """Results of the step that are not tensors: choices by memory budget, tuned hyper-parameters, diverged models."""
    seal: str = ""
    """Digest of all other fields, which detects an edit by hand."""

    @property
    def bytes(self) -> int:
        """Size of the artefact with all its parts."""
        return sum(file.size for file in self.all_files)

    @property
    def all_files(self) -> list[Part]:
        """All files of the artefact, the one that names it first."""
        return [Part(self.artefact, self.sha256, self.size), *self.parts]

    @property
    def content_digest(self) -> str:
        """Digest of the names and bytes of all files."""
        files = sorted((file.path, file.sha256) for file in self.all_files)
        return hashlib.sha256(json.dumps(files).encode()).hexdigest()

    def expected_seal(self) -> str:
        """Return the seal that belongs to the other fields."""
        fields = dataclasses.asdict(dataclasses.replace(self, seal=""))
        if not self.input_digests:
            del fields["input_digests"]  # sealed by a version that did not record them
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    def remade_inputs(self, manifest_of: Callable[[str], Manifest | None]) -> list[str]:
        """Return the inputs whose bytes are no longer those from which this artefact was made.

        An input without a manifest is not one of them: it is missing, and other checks report it.

        Args:
            manifest_of: function that returns the manifest of an artefact now, by path.
        """
        remade = []
        for path, digest in self.input_digests.items():
            manifest = manifest_of(path)
            if manifest is not None and manifest.content_digest != digest:
                remade.append(path)
        return remade


def manifest_path(artefact: Path) -> Path:
    """Return the path of the manifest of ``artefact``."""
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
    """Read the manifest of an artefact, or return None if it has no manifest.

    Raises:
        UserError: the manifest is malformed.
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
        raise UserError(
            f"{path}: the manifest is malformed ({error}); delete it and run snakemake again"
        ) from error
    return manifest


def _check_types(*records: Manifest | Part) -> None:
    for record in records:
        for name, kind in (
            ("sha256", str),
            ("size", int),
            ("inputs", dict),
            ("input_digests", dict),
            ("details", dict),
        ):
            value: object = getattr(record, name, kind())
            if not isinstance(value, kind):
                raise TypeError(f"{name} is {value!r}")


def find_manifest(artefact: Path) -> Manifest | None:
    """Return the manifest of an artefact; None if it has none, or a malformed one."""
    try:
        return read_manifest(artefact)
    except UserError:
        return None


def is_whole(root: Path, manifest: Manifest) -> bool:
    """Return whether all files of an artefact have the sizes in its manifest, and its parts have manifests.

    Only sizes are compared: reading every byte would make the start of a run slow. :func:`check_bytes` reads them.
    """
    return all(_has_size(root / file.path, file.size) for file in manifest.all_files) and all(
        manifest_path(root / part.path).exists() for part in manifest.parts
    )


def is_current(root: Path, artefact: str, key: str) -> bool:
    """Return whether an artefact is whole, has this key, and was made from the bytes that its inputs have now."""
    manifest = find_manifest(root / artefact)
    return (
        manifest is not None
        and (manifest.artefact, manifest.key) == (artefact, key)
        and is_whole(root, manifest)
        and not manifest.remade_inputs(lambda path: find_manifest(root / path))
    )


def check_bytes(root: Path, artefact: str) -> Manifest:
    """Compare every byte of an artefact and its parts with its manifest.

    Raises:
        UserError: something is missing, truncated or altered.
    """
    path = root / artefact
    manifest = read_manifest(path)
    if manifest is None:
        raise UserError(f"{artefact}: has no manifest; delete it and run snakemake again")
    for file in manifest.all_files:
        name, location = file.path, root / file.path
        if not location.is_file():
            raise UserError(f"{name}: missing; run snakemake again")
        if not _has_size(location, file.size):
            raise UserError(
                f"{name}: truncated or altered ({location.stat().st_size} bytes, {file.size} expected); "
                "delete it and run snakemake again"
            )
        if sha256(location) != file.sha256:
            raise UserError(
                f"{name}: corrupt, its bytes differ from the digest in its manifest; "
                "delete it and run snakemake again"
            )
    return manifest


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False

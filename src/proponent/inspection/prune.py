"""``proponent prune``: remove results that the current configuration does not make, found by manifest or key file."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from proponent.errors import UserError
from proponent.plan.artefact_paths import key_path
from proponent.plan.graph import Graph
from proponent.store.failure_record import SUFFIX as FAILED
from proponent.store.manifest import SUFFIX, manifest_path, read_manifest

_ABANDONED_AFTER = 3600.0
"""Seconds without a write after which a file is abandoned; a job of a killed controller may still run until then."""


def unneeded(graph: Graph, below: Iterable[Path] = ()) -> list[Path]:
    """Return the files that belong to no artefact of ``graph``.

    These are artefacts, their parts and manifests, key files and failure records. Partial files and leases of killed jobs
    are included after an hour, except the partial file of a shard that is still wanted, and the folder of its models from a
    script, because the shard continues from them. Other files without a manifest are not ours, so they stay.

    Args:
        graph: the graph of the current configuration.
        below: folders to search; all of ``results/`` if there are none.

    Raises:
        UserError: a folder is not below ``results/``, or does not exist.
    """
    results = graph.root / "results"
    folders = [folder.absolute() for folder in below] or [results]
    for folder in folders:
        if not folder.resolve().is_relative_to(results.resolve()):
            raise UserError(f"{folder}: is not below {results}; prune removes results only")
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder")
    kept = {graph.root / path for path in graph.nodes}
    kept |= {graph.root / key_path(path) for path in graph.nodes}
    kept |= {graph.root / f"{key_path(path)}{FAILED}" for path in graph.nodes}
    found: set[Path] = set()
    for folder in folders:
        for path in [*folder.rglob("*.json"), *folder.rglob(f"*{FAILED}")]:
            if "keys" in path.relative_to(results).parts[:2]:
                found |= {path} - kept
            elif path.name.endswith(SUFFIX):
                found |= _of_manifest(graph.root, path.with_name(path.name.removesuffix(SUFFIX)), kept)
        found |= {path for path in folder.rglob(".*") if _is_abandoned(path, kept)}
        found |= {path for work in folder.rglob(".*.work") for path in _abandoned_below(work, kept)}
    return sorted(path for path in found if path.exists())


def _is_abandoned(path: Path, kept: set[Path]) -> bool:
    unwanted = path.suffix == ".partial" and path.with_name(path.stem[1:]) not in kept
    named = unwanted or path.suffix == ".tmp" or path.stem.endswith(".lease")
    return named and path.is_file() and time.time() - path.stat().st_mtime > _ABANDONED_AFTER


def _abandoned_below(work: Path, kept: set[Path]) -> set[Path]:
    """Return the files of a folder in which a script trained models for an artefact that is no longer wanted."""
    files = {path for path in work.rglob("*") if path.is_file()}
    unwanted = work.with_name(work.stem[1:]) not in kept
    newest = max((path.stat().st_mtime for path in files), default=0.0)
    return files if unwanted and time.time() - newest > _ABANDONED_AFTER else set()


def _of_manifest(root: Path, artefact: Path, kept: set[Path]) -> set[Path]:
    try:
        manifest = read_manifest(artefact)
    except UserError:
        manifest = None
    if manifest is not None and "part_of" in manifest.details:
        owner = read_manifest(root / manifest.details["part_of"])
        named = {root / part.path for part in owner.parts} if owner else set()
        if root / manifest.details["part_of"] in kept and artefact in named:
            return set()
    elif artefact in kept:
        return set()
    return {artefact, manifest_path(artefact)}


def remove(root: Path, files: Iterable[Path]) -> int:
    """Remove files, and the folders of ``results/`` that become empty. Return the number of bytes freed."""
    freed = 0
    for path in files:
        freed += path.stat().st_size
        path.unlink()
        for folder in path.parents:
            if folder == root / "results" or any(folder.iterdir()):
                break
            folder.rmdir()
    return freed

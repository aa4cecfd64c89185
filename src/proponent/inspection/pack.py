"""``proponent pack`` and ``unpack``: the results of one setting as one archive, for people without access to the DVC remote.

The archive is an uncompressed tar file. Its first entry is an index with the SHA-256 of every other entry; names are
sorted and times fixed, so that equal results give equal bytes. Results are verified before they are packed and before
they are put in place. The archive is data: nothing in it is executed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import posixpath
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from proponent.errors import UserError
from proponent.inspection.verify import verify
from proponent.plan.graph import Graph
from proponent.progress import progress
from proponent.store.files import replacing, sha256
from proponent.store.manifest import SUFFIX, read_manifest

INDEX = "proponent-pack.json"
_FORMAT = 1
_LARGEST_INDEX = 64 * 2**20
_CHUNK = 2**20


@dataclass(frozen=True)
class Packed:
    """Result of :func:`pack` or :func:`unpack`."""

    setting: str
    files: int
    bytes: int
    new: int
    """Number of files that did not exist before."""


def pack(graph: Graph, setting: str, archive: Path) -> Packed:
    """Write all results of a setting to ``archive``: data, models, features, ground truth, scores and metrics.

    Args:
        graph: the graph of the current configuration, which includes the setting.
        setting: name of the setting.
        archive: file to write, atomically.

    Raises:
        UserError: nothing was made yet, or an artefact is stale or damaged; no archive is written then.
    """
    made = [path for path in graph.nodes if _belongs(path, setting) and read_manifest(graph.root / path)]
    if not made:
        raise UserError(
            f"results/{setting}: contains no artefact; run snakemake, dvc pull or proponent unpack first"
        )
    wanted = {path: node.key for path, node in graph.nodes.items()}
    for lines in verify(graph.root, wanted, [graph.root / path for path in made]).faults.values():
        raise UserError(f"{lines[0]}; nothing was packed")
    names = sorted({name for path in made for name in _files(graph.root, path)})
    index = {
        name: {"sha256": sha256(graph.root / name), "size": (graph.root / name).stat().st_size}
        for name in names
    }
    content = json.dumps(
        {"format": _FORMAT, "setting": setting, "files": index}, indent=1, sort_keys=True
    ).encode()
    with replacing(archive) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(_entry(INDEX, len(content)), io.BytesIO(content))
        for name in progress(names, "packing", len(names)):
            with (graph.root / name).open("rb") as stream:
                tar.addfile(_entry(name, int(str(index[name]["size"]))), stream)
    return Packed(setting, len(names), archive.stat().st_size, len(names))


def _belongs(path: str, setting: str) -> bool:
    parts = PurePosixPath(path.removesuffix(SUFFIX)).parts
    return parts[:2] == ("results", setting) or (
        parts[:2] == ("results", "summaries") and PurePosixPath(parts[-1]).stem == setting
    )


def _files(root: Path, artefact: str) -> Iterator[str]:
    manifest = read_manifest(root / artefact)
    for file in manifest.all_files if manifest else ():
        yield file.path
        yield f"{file.path}{SUFFIX}"


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    return entry


def unpack(root: Path, archive: Path, replace: bool = False) -> Packed:
    """Put the files of an archive in place, all of them or none.

    All files are checked in a folder next to the results first, and then moved. Manifests are moved last, so that a
    result that a power cut left incomplete does not count as made.

    Args:
        root: the checkout.
        archive: file that :func:`pack` wrote.
        replace: whether to replace existing results that differ.

    Raises:
        UserError: the file is not such an archive, an entry differs from the index or points out of ``results/``, or
            results exist that differ.
    """
    results = root / "results"
    results.mkdir(exist_ok=True)
    staging = results / f".unpack.{os.getpid()}"
    try:
        with _opened(archive) as tar:
            setting, index = _read_index(tar, archive)
            _stage(tar, archive, index, results, staging)
        new = [name for name in index if not (root / name).exists()]
        changed = [name for name in index if name not in set(new) and sha256(root / name) != index[name][0]]
        if changed and not replace:
            raise UserError(
                f"{changed[0]} and {len(changed) - 1} more files exist and differ; "
                "add --replace to replace them with those of the archive"
            )
        _move(root, staging, [*new, *changed])
    except tarfile.FilterError as error:
        raise UserError(f"{archive}: leads out of results/ ({error}); nothing was unpacked") from error
    except tarfile.TarError as error:
        raise UserError(f"{archive}: damaged or cut short ({error}); nothing was unpacked") from error
    except OSError as error:
        raise UserError(
            f"{error.filename or archive}: {error.strerror or error}; nothing was unpacked"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Packed(setting, len(index), sum(size for _, size in index.values()), len(new))


def _opened(archive: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(archive, "r:")
    except tarfile.TarError as error:
        raise UserError(f"{archive}: not an archive of proponent pack ({error})") from error


def _read_index(tar: tarfile.TarFile, archive: Path) -> tuple[str, dict[str, tuple[str, int]]]:
    """Return the setting, and the SHA-256 and size of each file by name."""
    first = tar.next()
    if first is None or first.name != INDEX or not first.isreg() or first.size > _LARGEST_INDEX:
        raise UserError(f"{archive}: not an archive of proponent pack (its first entry is not {INDEX})")
    try:
        content = json.loads(_stream(tar, first).read())
        written_as, setting = content["format"], str(content["setting"])
        index = {
            str(name): (str(file["sha256"]), int(file["size"])) for name, file in content["files"].items()
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{archive}: its index cannot be read ({error})") from error
    if written_as != _FORMAT:
        raise UserError(
            f"{archive}: has format {written_as}, but this version of proponent reads format {_FORMAT}"
        )
    for name in index:
        if not _belongs(name, setting) or posixpath.normpath(name) != name:
            raise UserError(f"{archive}: {name!r} is not a result of {setting}; nothing was unpacked")
    return setting, index


def _stage(
    tar: tarfile.TarFile, archive: Path, index: Mapping[str, tuple[str, int]], results: Path, staging: Path
) -> None:
    """Write every entry below ``staging``, after checking it against the index.

    Raises:
        FilterError: a link inside ``results`` would lead an entry out of it.
    """
    missing = set(index)
    for entry in progress(iter(tar.next, None), "unpacking", len(index)):
        if entry.name not in missing or not entry.isreg():
            raise UserError(f"{archive}: {entry.name!r} is not in its index, or is not a plain file")
        missing.remove(entry.name)
        tarfile.data_filter(entry.replace(name=entry.name.removeprefix("results/"), deep=False), str(results))
        if _copy(_stream(tar, entry), staging / entry.name) != index[entry.name]:
            raise UserError(f"{archive}: {entry.name} differs from the index; nothing was unpacked")
    if missing:
        raise UserError(f"{archive}: cut short, {min(missing)} is missing; nothing was unpacked")


def _stream(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    stream = tar.extractfile(entry)
    if stream is None:
        raise tarfile.ReadError(f"{entry.name} has no content")
    return stream


def _copy(source: IO[bytes], target: Path) -> tuple[str, int]:
    """Write a stream to a new file. Return the SHA-256 and the size of its content."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with target.open("xb") as stream:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            size += stream.write(chunk)
        os.fsync(stream.fileno())
    return digest.hexdigest(), size


def _move(root: Path, staging: Path, names: Iterable[str]) -> None:
    ordered = sorted(names, key=lambda name: (name.endswith(SUFFIX), name))
    for name in ordered:
        if name.endswith(SUFFIX):
            (root / name).unlink(missing_ok=True)
    for name in ordered:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).replace(root / name)

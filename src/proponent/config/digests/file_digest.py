"""Digests of the files and folders that a factory or a command reads, computed by streaming and remembered.

A file of some gigabytes takes seconds to read, and every start of Snakemake and every job asks for its digest. So the
digest of a large file or of a folder is remembered together with the sizes, times and inodes that were seen. The time of
the last change of an inode (ctime) is among them, which no program can set back: a file that was written again in place
with its old modification time is read again. What changed in the last seconds is not remembered, since a further change
might leave the same time.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from proponent.config.digests.python_source import parse, syntax_digest
from proponent.errors import UserError

MEMORY = ".snakemake/file-digests.json"
"""File with the remembered digests, below the root of the checkout; it can be removed at any time."""
REMEMBERED_BYTES = 2**20
"""Size from which a file is remembered; smaller ones are read faster than looked up."""
SETTLED_SECONDS = 2.0
"""Age of a change that is certainly told from a later one by its time: file systems keep times in steps of at most 2 s."""


@dataclass
class FileDigests:
    """Digests by path.

    Attributes:
        remembered: digest of the sizes, times and inodes of a file or folder, and digest of its content, by absolute path.
    """

    remembered: dict[str, tuple[str, str]] = field(default_factory=dict)
    _read_now: dict[str, tuple[str, str]] = field(default_factory=dict)
    """The same for everything that this process has read."""

    @classmethod
    def read(cls, root: Path) -> FileDigests:
        """Return the digests that were remembered in the checkout at ``root``; none if the file is missing or malformed."""
        try:
            stored = json.loads((root / MEMORY).read_text(encoding="utf-8"))
            return cls({path: (str(seen), str(digest)) for path, (seen, digest) in stored.items()})
        except (OSError, ValueError, TypeError, AttributeError):
            return cls()

    def of(self, path: Path) -> str:
        """Return the digest of a file or folder.

        Python is parsed, so that comments and formatting do not count; of other files the bytes are digested. The digest
        of a folder covers the names and bytes of all files below it, except ``__pycache__``.

        Raises:
            UserError: a file cannot be read.
        """
        try:
            if path.is_dir():
                return self._remember(path, _files_below(path), lambda: self._folder(path))
            if path.suffix == ".py":
                return syntax_digest(parse(path))
            return self._bytes(path)
        except OSError as error:
            raise UserError(f"{error.filename or path}: cannot be read: {error.strerror or error}") from error

    def _folder(self, folder: Path) -> str:
        listing = hashlib.sha256()
        for path in _files_below(folder):
            name = path.relative_to(folder).as_posix()
            listing.update(f"{self._bytes(path)} {name}\0".encode("utf-8", "surrogateescape"))
        return listing.hexdigest()

    def _bytes(self, path: Path) -> str:
        if path.stat().st_size < REMEMBERED_BYTES:
            return _streamed(path)
        return self._remember(path, [path], lambda: _streamed(path))

    def _remember(self, path: Path, files: list[Path], digest: Callable[[], str]) -> str:
        """Return the remembered digest if all files look as they did then; otherwise compute it."""
        started, (seen, newest) = time.time(), _appearance(files)
        name = str(path.absolute())
        known = self._read_now.get(name) or self.remembered.get(name)
        if known and known[0] == seen:
            return known[1]
        found = digest()
        self._read_now[name] = (seen, found)
        self.remembered.pop(name, None)
        if newest < started - SETTLED_SECONDS and _appearance(files)[0] == seen:
            self.remembered[name] = (seen, found)
        return found


def _files_below(folder: Path) -> list[Path]:
    """Return all files below a folder in the order of their names, behind links to folders as well.

    Raises:
        OSError: a folder cannot be listed.
        UserError: a link leads back to a folder above it.
    """

    def fail(error: OSError) -> None:
        raise error

    found = []
    for place, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in folders:
            inner = Path(place, name)
            if inner.is_symlink() and Path(place).resolve().is_relative_to(inner.resolve()):
                raise UserError(f"{inner}: links to a folder above it; remove the link, or name the files")
        found += [Path(place, name) for name in files]
    return sorted(found)


def _appearance(files: list[Path]) -> tuple[str, float]:
    """Return a digest of names, sizes, times and inodes, and the time of the latest change."""
    looks, newest = hashlib.sha256(), 0
    for path in files:
        seen = path.stat()
        parts = (path, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino)
        looks.update(repr(parts).encode("utf-8", "surrogateescape"))
        newest = max(newest, seen.st_mtime_ns, seen.st_ctime_ns)
    return looks.hexdigest(), newest / 1e9


def _streamed(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

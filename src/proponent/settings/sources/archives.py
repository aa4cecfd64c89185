"""Files inside archives of packages: ``.deb``, ``.tgz`` and ``.whl``, read without unpacking or installing them."""

from __future__ import annotations

import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from proponent.errors import UserError

_AR_MAGIC = b"!<arch>\n"
_DAMAGED = (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
"""Errors of readers of archives whose bytes are not those of an archive."""
_AR_HEADER = 60
"""Bytes of the header of a member of an ar archive: name (16), times and owners (32), size (10), end (2)."""


def read_members(archive: Path, choose: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the chosen files of an archive, in the order in which it holds them.

    Args:
        archive: a ``.deb`` package (its data, not its control files), a tar archive of any compression that
            :mod:`tarfile` reads, such as the ``.tgz`` of npm, or a zip archive, such as a wheel.
        choose: function of a file's name (``usr/share/x/y``, without ``./`` in front) that tells whether to read it.

    Raises:
        UserError: the file is damaged, or of another kind.
    """
    try:
        if zipfile.is_zipfile(archive):
            yield from _in_zip(archive, choose)
        else:
            with _tar_stream(archive) as stream, tarfile.open(fileobj=stream, mode="r:*") as tar:
                yield from _in_tar(tar, choose)
    except _DAMAGED as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{archive}: cannot be read as an archive ({reason}); delete it, and run again"
        ) from error


def read_member(archive: Path, name: str) -> bytes:
    """Return the content of one file of an archive (:func:`read_members`).

    Raises:
        UserError: the archive has no such file, or cannot be read.
    """
    for _, content in read_members(archive, lambda found: found == name):
        return content
    raise UserError(f"{archive}: has no file '{name}'; check the version of the package")


def _in_zip(archive: Path, choose: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(archive) as file:
        for entry in file.infolist():
            if not entry.is_dir() and choose(entry.filename):
                yield entry.filename, file.read(entry)


def _in_tar(tar: tarfile.TarFile, choose: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    for entry in tar:
        name = entry.name.removeprefix("./")
        if entry.isfile() and choose(name):
            content = tar.extractfile(entry)
            if content is not None:
                yield name, content.read()


@contextmanager
def _tar_stream(archive: Path) -> Iterator[IO[bytes]]:
    """Open the tar archive that a file is, or that a Debian package holds as ``data.tar.*``."""
    with archive.open("rb") as stream:
        if stream.read(len(_AR_MAGIC)) != _AR_MAGIC:
            stream.seek(0)
            yield stream
            return
        while len(header := stream.read(_AR_HEADER)) == _AR_HEADER:
            name, size = header[:16].decode("ascii", "replace").strip(), _size(header)
            if name.startswith("data.tar"):
                yield io.BytesIO(stream.read(size))
                return
            stream.seek(size + size % 2, io.SEEK_CUR)  # members begin at even positions
    raise tarfile.ReadError("a Debian package without data.tar")


def _size(header: bytes) -> int:
    try:
        return int(header[48:58])
    except ValueError as error:
        raise tarfile.ReadError("a malformed header of ar") from error

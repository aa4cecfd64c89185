"""Files that a factory takes from a URL or from an installed package, verified by their SHA-256 digest.

A download is kept outside ``results/``, in the folder that ``PROPONENT_CACHE`` names or else in ``proponent`` below the
user's cache folder, under its digest. The digest stands in the source of the factory, and so is part of the content key.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import re
import sys
import tempfile
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import urlsplit

from proponent.errors import UserError
from proponent.file_locks import exclusive

CHUNK = 2**20
"""Bytes that are read and digested at a time."""
TIMEOUT = 60
"""Seconds without an answer after which a server counts as unreachable."""
_SCHEMES = ("https", "http")


def fetch(source: str, sha256: str) -> Path:
    """Return the path of a file with the given digest; a file that is there already is not downloaded again.

    Args:
        source: an ``https``, ``http`` or ``file`` URL, or ``package:path/inside`` for a file of an installed package.
        sha256: SHA-256 digest of the file, in hexadecimal.

    Returns:
        The file itself for an installed package and a ``file`` URL, and otherwise a file of the cache.

    Raises:
        UserError: the arguments are malformed, the file has another digest, or it is neither here nor can be
            downloaded; the message then says where to place it.
    """
    wanted = sha256.lower()
    if not re.fullmatch("[0-9a-f]{64}", wanted):
        raise UserError(f"fetch '{source}': sha256 must have 64 hexadecimal digits, not {sha256!r}")
    parts = urlsplit(source)
    if parts.scheme in _SCHEMES and parts.netloc:
        return _download(source, wanted, cache_folder() / (wanted + _suffix(parts.path)))
    if "://" not in source:
        return _verified(_in_package(source), wanted, source)
    if parts.scheme == "file":
        from urllib.request import url2pathname

        return _verified(Path(url2pathname(parts.path)), wanted, source)
    raise UserError(f"fetch '{source}': give an https, http or file URL, or 'package:path/inside'")


def cache_folder() -> Path:
    """Return the folder of downloads: ``PROPONENT_CACHE``, or ``proponent`` in the user's cache folder."""
    given = os.environ.get("PROPONENT_CACHE")
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "proponent"


def _suffix(path: str) -> str:
    """Return the suffix of a URL's file, by which readers recognise formats; nothing else of a URL becomes a name."""
    found = re.search(r"(\.[A-Za-z0-9]{1,8}){1,2}$", PurePosixPath(path).name)
    return found.group() if found else ""


def _in_package(source: str) -> Path:
    package, colon, inside = source.partition(":")
    relative = PurePosixPath(inside)
    if not (package.isidentifier() and colon and inside) or relative.is_absolute() or ".." in relative.parts:
        raise UserError(f"fetch '{source}': give an https, http or file URL, or 'package:path/inside'")
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if Path(folder, inside).is_file():
            return Path(folder, inside)
    problem = "has no such file" if spec else "is not installed"
    raise UserError(
        f"fetch '{source}': the package '{package}' {problem}; check the name and the installed version"
    )


def _verified(path: Path, wanted: str, source: str) -> Path:
    try:
        found = _digest(path)
    except OSError as error:
        raise UserError(f"fetch '{source}': {path} cannot be read: {error.strerror or error}") from error
    if found != wanted:
        raise UserError(f"fetch '{source}': {_other_digest(found, wanted)}")
    return path


def _other_digest(found: str, wanted: str) -> str:
    return f"the file has the sha256 {found}, not {wanted}; check the source, or correct the digest in the factory"


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _download(url: str, wanted: str, target: Path) -> Path:
    """Return the verified file of the cache, after downloading it if it is not there."""
    with contextlib.suppress(FileNotFoundError):
        if _digest(target) == wanted:
            return target
    try:
        with exclusive(target.with_name(f".{target.name}.lock")):
            if target.exists() and _digest(target) == wanted:  # another process has downloaded it meanwhile
                return target
            for left in target.parent.glob(f".{target.name}.*.part"):  # of a download that was killed
                left.unlink(missing_ok=True)
            _write(url, wanted, target)
    except (OSError, ValueError) as error:
        reason = " ".join(str(getattr(error, "reason", error)).split())
        raise UserError(
            f"fetch '{url}': {reason}; without a network, place the file with the sha256 {wanted} at {target}"
        ) from error
    return target


def _write(url: str, wanted: str, target: Path) -> None:
    """Download to a temporary file, which takes the name of the target once its digest is right."""
    print(f"downloading {url} to {target}", file=sys.stderr)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            found = _stream(url, stream)
            stream.flush()
            os.fsync(stream.fileno())
        if found != wanted:
            raise UserError(f"fetch '{url}': {_other_digest(found, wanted)}")
        temporary.chmod(0o644)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _stream(url: str, stream: IO[bytes]) -> str:
    """Write the bytes behind a URL to a stream and return their digest.

    Raises:
        OSError: the server cannot be reached, refuses, or ends too early.
    """
    from http.client import HTTPException
    from urllib.request import urlopen

    digest, read = hashlib.sha256(), 0
    try:
        with urlopen(url, timeout=TIMEOUT) as answer:  # noqa: S310 - the caller admits web addresses only
            while chunk := answer.read(CHUNK):
                stream.write(chunk)
                digest.update(chunk)
                read += len(chunk)
            expected = answer.headers.get("Content-Length")
    except HTTPException as error:
        raise OSError(f"the answer is malformed ({error})") from error
    if expected is not None and read < int(expected):
        raise OSError(f"the connection ended after {read} of {expected} bytes")
    return digest.hexdigest()

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
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
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

    Examples:
        The header of a data set inside an installed package:

        >>> from proponent.settings import fetch
        >>> digest = "f13ffa8fdd56fd8e6c8d16d4081a3fbd3114bcd0aae4256c43205169cd9d1449"
        >>> path = fetch("sklearn:datasets/data/iris.csv", sha256=digest)
        >>> path.read_text().splitlines()[0]
        '150,4,setosa,versicolor,virginica'
    """
    wanted = sha256.lower()
    if not re.fullmatch("[0-9a-f]{64}", wanted):
        raise UserError(f"fetch '{source}': sha256 must have 64 hexadecimal digits, not {sha256!r}")
    parts = urlsplit(source)
    if parts.scheme in _SCHEMES and parts.netloc:
        target = cache_folder() / (wanted + _suffix(parts.path))
        return kept_file(source, wanted, target, lambda temporary: _download(source, temporary))
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


def kept_file(source: str, wanted: str, target: Path, obtain: Callable[[Path], None]) -> Path:
    """Return a file of the cache with the given digest, after obtaining it if it is not there.

    Args:
        source: origin of the file, for messages.
        wanted: SHA-256 digest of the file, in lower case.
        target: path of the file in the cache.
        obtain: function that writes the file to a path; it raises an OSError or a ValueError if it cannot.

    Raises:
        UserError: the file cannot be obtained, or has another digest; nothing is kept then.
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            if _digest(target) == wanted:
                return target
        with exclusive(target.with_name(f".{target.name}.lock")):
            if target.exists() and _digest(target) == wanted:  # another process has downloaded it meanwhile
                return target
            for left in target.parent.glob(f".{target.name}.*.part"):  # of a download that was killed
                _remove(left)
            _obtain(source, wanted, target, obtain)
    except (OSError, ValueError) as error:
        reason = " ".join(str(getattr(error, "reason", error)).split())
        raise UserError(
            f"fetch '{source}': {reason}; without a network, place the file with the sha256 {wanted} at {target}"
        ) from error
    return target


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _obtain(source: str, wanted: str, target: Path, obtain: Callable[[Path], None]) -> None:
    """Obtain a temporary file, which takes the name of the target once its digest is right."""
    print(f"downloading {source} to {target}", file=sys.stderr)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        obtain(temporary)
        found = _digest(temporary)
        if found != wanted:
            raise UserError(f"fetch '{source}': {_other_digest(found, wanted)}")
        temporary.chmod(0o644)
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _download(url: str, target: Path) -> None:
    """Write the bytes behind a URL to a file.

    Raises:
        OSError: the server cannot be reached, refuses, or ends too early.
    """
    from http.client import HTTPException
    from urllib.request import urlopen

    read = 0
    try:
        # The caller admits web addresses only.
        with urlopen(url, timeout=TIMEOUT) as answer, target.open("wb") as stream:  # noqa: S310
            while chunk := answer.read(CHUNK):
                read += stream.write(chunk)
            expected = answer.headers.get("Content-Length")
    except HTTPException as error:
        raise OSError(f"the answer is malformed ({error})") from error
    if expected is not None and read < int(expected):
        raise OSError(f"the connection ended after {read} of {expected} bytes")

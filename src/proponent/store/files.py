"""Atomic writes: a file is written under a temporary name, synced and renamed, so it is either whole or absent.

What is derived at every start, such as key files, is not synced, because each sync waits for the disk: after a power failure
it may be empty, and is written again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from proponent.errors import UserError


@contextlib.contextmanager
def replacing(path: Path, *, synced: bool = True) -> Iterator[Path]:
    """Yield a temporary path next to ``path``, which replaces ``path`` when the block ends without an error.

    Args:
        path: the file to replace or to create.
        synced: whether it is on the disk afterwards, so that it survives a power failure.

    Raises:
        UserError: the disk is full, read-only or refuses for another reason; no partial file remains.
    """
    # Not the process ID: on a shared file system a process of another machine can have the same one.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        _set_mode(temporary, mode)
        if synced:
            with temporary.open("rb+") as written:
                os.fsync(written.fileno())
        temporary.replace(path)
        if synced:
            _sync_folder(path.parent)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written: {error.strerror or error}; no partial file remains"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _set_mode(path: Path, mode: int) -> None:
    """Give a file the mode that the umask, or the folder's access list, gives to new files.

    safetensors creates files that only their owner can read.
    """
    if path.stat().st_mode != mode:
        with contextlib.suppress(OSError):  # file systems without modes, such as exFAT
            path.chmod(stat.S_IMODE(mode))


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (
            errno.EINVAL,
            errno.ENOSYS,
            errno.EOPNOTSUPP,
        ):  # folders cannot be synced everywhere
            raise
    finally:
        os.close(handle)


def write_json(path: Path, content: Any, *, synced: bool = True) -> None:
    """Write ``content`` as indented JSON, atomically and as in :func:`replacing`; NaN raises a ``ValueError``."""
    with replacing(path, synced=synced) as temporary:
        temporary.write_text(
            json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8"
        )


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        UserError: the file is missing or is not valid JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error})") from error


def sha256(path: Path) -> str:
    """Return the SHA-256 digest of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

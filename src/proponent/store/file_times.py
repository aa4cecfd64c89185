"""Modification times of files in nanoseconds, as Snakemake reads them, and changes of them."""

from __future__ import annotations

import os
import shutil
import stat
import time
import uuid
from pathlib import Path

from proponent.errors import UserError
from proponent.store.files import replacing

SECOND = 1_000_000_000


def time_as_output(path: Path) -> int:
    """Return the time with which Snakemake compares the inputs of a file: for a link, that of the link itself."""
    return path.lstat().st_mtime_ns


def time_as_input(path: Path) -> int:
    """Return the time that Snakemake compares with outputs: for a link, the later of the link and its target."""
    own = path.lstat()
    return max(own.st_mtime_ns, path.stat().st_mtime_ns) if stat.S_ISLNK(own.st_mode) else own.st_mtime_ns


def file_system_now(folder: Path) -> int:
    """Return the present time by the clock and the granularity of the file system of ``folder``."""
    probe = folder / f".{uuid.uuid4().hex[:12]}.tmp"
    probe.touch()
    try:
        return probe.stat().st_mtime_ns
    finally:
        probe.unlink()


def set_time(path: Path, nanoseconds: int) -> None:
    """Set the modification time of a file, or of the link itself if it is a link.

    A file of another user, whose time only that user can change, is replaced by a copy.

    Raises:
        UserError: the file is of another user, and its folder is not writable, or the copy is of that user, too.
    """
    try:
        _set_time(path, nanoseconds)
    except PermissionError:
        replace_by_copy(path)
        if path.stat().st_uid != os.geteuid():
            raise UserError(
                f"{path}: its time cannot be set, because this file system gives every file to another user; "
                f"mount it with the option uid={os.geteuid()}"
            ) from None
        _set_time(path, nanoseconds)


def move_to_new_second(path: Path, earlier: int | None) -> None:
    """Wait until the time of a new file differs from that of its predecessor in whole seconds, and set it.

    Programs that compare size and time in whole seconds, such as rsync, would otherwise take it for the same file.

    Args:
        path: the new file.
        earlier: time of the file that it replaced; None if there was none.
    """
    while earlier is not None and time_as_output(path) // SECOND == earlier // SECOND:
        time.sleep(0.1)
        os.utime(path)


def replace_by_copy(path: Path) -> None:
    """Replace a file or a link by a copy of the bytes that is this user's own and shares no inode.

    Raises:
        UserError: the folder is not writable, or the disk is full; nothing is changed.
    """
    with replacing(path) as temporary:
        shutil.copyfile(path, temporary)


def _set_time(path: Path, nanoseconds: int) -> None:
    os.utime(path, ns=(path.lstat().st_atime_ns, nanoseconds), follow_symlinks=False)

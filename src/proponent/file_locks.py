"""Locks that the kernel releases when their process ends, on file systems that have them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import sys
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}
"""Errors of flock(2) where a file system has no locks: FUSE without them, NFS without its lock service, Lustre."""


def acquire(path: Path, timeout: float) -> FileLock | None:
    """Lock a file, which is created if necessary, and return the lock.

    Args:
        path: file of the lock.
        timeout: seconds to wait for another process that holds it; -1 to wait without end.

    Returns:
        The lock, or None if the file system has no locks.

    Raises:
        filelock.Timeout: another process still holds the lock.
        OSError: the file cannot be opened.
    """
    # A soft lock, the fallback of filelock where the file system has no flock, would survive kill -9.
    lock = FileLock(path, fallback_to_soft=False)
    try:
        lock.acquire(timeout=timeout)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return lock


def is_held(path: Path) -> bool:
    """Return whether a process holds the lock on ``path``; a user who may only read the file can ask, too."""
    try:
        with path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # there is no such file, or the file system has no locks
    return False


def lacks_locks(folder: Path) -> str:
    """Return the line that tells a user that the file system of ``folder`` has no locks."""
    return f"note: {folder}: this file system has no locks, so two runs at once cannot be kept apart; start one at a time"


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock on ``path`` inside the block, if its file system has locks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = acquire(path, -1)
    if lock is None:
        print(lacks_locks(path.parent), file=sys.stderr)
    try:
        yield
    finally:
        if lock is not None:
            lock.release()

"""Leases: at most one job makes an artefact at a time, also on a network file system.

A lease is a small file next to the artefact. It is created by ``link``, which fails if the name exists (the exclusive
creation that NFS guarantees), and its age is measured by the clock of the file server. Leases are numbered, and the
highest number holds. A job that finds the lease of a dead holder takes the next number instead of removing the old
lease, so that of several jobs that find it only one succeeds.

``flufl.lock`` uses the same ``link``, but it decides by an expiry time that the holder wrote with its own clock. This
module knows more about a holder: the clocks of two nodes need not agree because only the server's clock counts, a
holder on the same boot of the same machine is dead as soon as its process is (no waiting for an expiry), and for a
holder on another node Slurm tells whether its job still runs. ``filelock`` needs ``flock``, which many cluster file
systems do not offer between nodes.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from proponent.errors import UserError
from proponent.slurm import SlurmUnknownError, live_jobs, own_job
from proponent.store.memory_kills import count_memory_kills

RENEWED_EVERY = 30.0
"""Seconds between two renewals of a lease by its holder."""
EXPIRES_AFTER = 300.0
"""Seconds without a renewal after which a holder counts as dead if nothing else is known about it."""
_POLL_SECONDS = 5.0
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK}
"""Errors of link(2) where a file system has no hard links, such as exFAT and many FUSE file systems."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a lease."""

    token: str
    host: str
    """Host name, boot and process namespace: a process ID is unique only within these."""
    process: int
    started: str
    """Start time of the process, as the kernel counts it, because process IDs are reused."""
    slurm_job: str
    memory_kills: tuple[int, int] = (0, 0)
    """Kernel's numbers of kills for lack of memory when the process took the lease: in its control group, on the machine."""

    @property
    def description(self) -> str:
        """Name of the holder in messages."""
        where = f"process {self.process} on {self.host.split('/')[0]}"
        return f"Slurm job {self.slurm_job} ({where})" if self.slurm_job else where


@dataclass
class Lease:
    """A lease that this process holds."""

    path: Path
    artefact: Path

    def check(self) -> None:
        """Check that this process still holds the lease.

        Raises:
            UserError: another job took it over because this process did not renew it in time.
        """
        if not self.path.exists() or _highest(self.artefact) != self.path:
            raise UserError(
                f"{self.artefact.name}: another job took over because this one did not renew its lease in time"
            )


@contextlib.contextmanager
def leased(artefact: Path, is_done: Callable[[], bool]) -> Iterator[Lease | None]:
    """Hold the lease on ``artefact`` inside the block, after waiting for the job that holds it now.

    Args:
        artefact: path of the artefact to make.
        is_done: function that returns whether the artefact has been made meanwhile.

    Yields:
        The lease, or None if the job that held it before has made the artefact.

    Raises:
        UserError: the lease cannot be written; no file remains.
    """
    artefact.parent.mkdir(parents=True, exist_ok=True)
    lease = None
    reported = ""
    while lease is None:
        highest = _highest(artefact)
        holder = _read(highest) if highest else None
        if highest is None or _is_gone(highest, holder):
            lease = _take(artefact, highest)
            continue
        if holder is not None and holder.token != reported:
            reported = holder.token
            print(
                f"{artefact.name}: waiting for {holder.description}, which is making it",
                file=sys.stderr,
                flush=True,
            )
        time.sleep(_POLL_SECONDS)
        if is_done():
            yield None
            return
    stop = threading.Event()
    renewal = threading.Thread(target=_renew, args=(lease.path, stop), daemon=True)
    renewal.start()
    try:
        yield None if reported and is_done() else lease
    finally:
        stop.set()
        renewal.join()
        # Leases of dead holders are removed first: while this one exists, no other job can begin.
        for path in _all(artefact):
            if path <= lease.path:
                path.unlink(missing_ok=True)


def abandoned_by(artefact: Path) -> Holder | None:
    """Return the holder of the lease on ``artefact`` if it was killed while it held it; None otherwise."""
    highest = _highest(artefact) if artefact.parent.is_dir() else None
    holder = _read(highest) if highest else None
    return holder if highest and holder and _is_gone(highest, holder) else None


def _take(artefact: Path, highest: Path | None) -> Lease | None:
    number = int(highest.suffix[1:]) + 1 if highest else 1
    path = artefact.with_name(f".{artefact.name}.lease.{number:06d}")
    process = os.getpid()
    kills = count_memory_kills()
    holder = Holder(
        *(uuid.uuid4().hex, _host(), process, _start_of(process), own_job()),
        memory_kills=(kills.cgroup, kills.machine),
    )
    written = artefact.with_name(f".{artefact.name}.{holder.token}.tmp")
    try:
        written.write_text(json.dumps(asdict(holder)), encoding="utf-8")
        with contextlib.suppress(FileExistsError):
            _link(written, path)
        # NFS can lose the reply to a successful link, so the content decides, not the error. The number of names of the
        # file cannot: some file systems always say 1.
        made = _read(path)
        if made is None or made.token != holder.token:
            return None
    except OSError as error:
        raise UserError(f"{artefact}: cannot be written: {error.strerror or error}") from error
    finally:
        written.unlink(missing_ok=True)
    lease = Lease(path, artefact)
    if _highest(artefact) != path:
        path.unlink()
        return None
    return lease


def _link(written: Path, path: Path) -> None:
    """Create ``path`` with the content of ``written``.

    Raises:
        FileExistsError: ``path`` exists.
    """
    try:
        os.link(written, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with path.open("x", encoding="utf-8") as stream:  # exclusive as well, but empty for an instant
            stream.write(written.read_text(encoding="utf-8"))


def _all(artefact: Path) -> list[Path]:
    start = f".{artefact.name}.lease."
    return sorted(path for path in artefact.parent.iterdir() if path.name.startswith(start))


def _highest(artefact: Path) -> Path | None:
    found = _all(artefact)
    return found[-1] if found else None


def _read(path: Path) -> Holder | None:
    try:
        return Holder(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _is_gone(path: Path, holder: Holder | None) -> bool:
    if holder is not None:
        if holder.host == _host():
            return _start_of(holder.process) != holder.started
        if holder.slurm_job and holder.slurm_job == own_job():
            return True  # Slurm requeues a job only after it has ended.
        if holder.slurm_job:
            with contextlib.suppress(SlurmUnknownError):
                return not any(job.state != "PENDING" for job in live_jobs(holder.slurm_job))
    return _age(path) > EXPIRES_AFTER


def _age(path: Path) -> float:
    """Return the seconds since the last renewal; both times are taken from the clock of the file server."""
    now = path.with_name(f".{uuid.uuid4().hex}.tmp")
    now.touch()
    try:
        return now.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0  # released meanwhile; the caller looks again
    finally:
        now.unlink()


def _renew(path: Path, stop: threading.Event) -> None:
    while not stop.wait(RENEWED_EVERY):
        with contextlib.suppress(OSError):
            os.utime(path)


def _host() -> str:
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()}/{boot}/{Path('/proc/self/ns/pid').readlink()}"
    return socket.gethostname()


def _start_of(process: int) -> str:
    """Return the start time of a process of this host, or an empty string if no such process runs."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    # Fields of proc(5): the state is the first after the name, the start time is field 22. A zombie (Z) has ended.
    return "" if fields[0] == "Z" else fields[19]

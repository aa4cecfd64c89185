"""Leases: who is making an artefact now, so that two jobs never make the same one at once.

A lease is a small file beside the artefact. It works where results lie on a network file system: it is taken by ``link``,
which fails where the name exists (the exclusive creation that NFS promises), its age is read off the server's clock, and no
lock is used. Leases are numbered; the highest number holds. Who finds a lease whose holder is gone takes the next number
rather than removing it, so that of several who find it only one succeeds.
"""

from __future__ import annotations

import contextlib
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

RENEWED_EVERY = 30.0
"""Seconds between two signs of life."""
EXPIRES_AFTER = 300.0
"""Seconds without one after which a holder of whom nothing else is known counts as gone."""
_ASKED_EVERY = 5.0


@dataclass(frozen=True)
class Holder:
    """Who holds a lease."""

    token: str
    host: str
    """Name, boot and process namespace: process numbers mean something only within."""
    process: int
    started: str
    """When the process started, by its kernel: numbers come round again."""
    slurm_job: str

    @property
    def words(self) -> str:
        """How to name it in a message."""
        where = f"process {self.process} on {self.host.split('/')[0]}"
        return f"Slurm job {self.slurm_job} ({where})" if self.slurm_job else where


@dataclass
class Lease:
    """A lease that this process holds."""

    path: Path
    artefact: Path

    def check(self) -> None:
        """See that nobody took it over.

        Raises:
            UserError: somebody did, believing this process to be gone.
        """
        if not self.path.exists() or _highest(self.artefact) != self.path:
            raise UserError(
                f"{self.artefact.name}: another job took over while this one gave no sign of life"
            )


@contextlib.contextmanager
def leased(artefact: Path, is_done: Callable[[], bool]) -> Iterator[Lease | None]:
    """Hold the lease on ``artefact`` inside the block; wait for whoever holds it before.

    Args:
        artefact: what is to be made.
        is_done: whether it has been made meanwhile.

    Yields:
        The lease; None where the artefact was made by the one who was waited for.

    Raises:
        UserError: the disk refuses to hold a lease; nothing is left behind.
    """
    artefact.parent.mkdir(parents=True, exist_ok=True)
    lease = None
    told = ""
    while lease is None:
        highest = _highest(artefact)
        holder = _read(highest) if highest else None
        if highest is None or _is_gone(highest, holder):
            lease = _take(artefact, highest)
            continue
        if holder is not None and holder.token != told:
            told = holder.token
            print(f"{artefact.name}: {holder.words} is making it; waiting", file=sys.stderr, flush=True)
        time.sleep(_ASKED_EVERY)
        if is_done():
            yield None
            return
    stop = threading.Event()
    renewal = threading.Thread(target=_renew, args=(lease.path, stop), daemon=True)
    renewal.start()
    try:
        yield None if told and is_done() else lease
    finally:
        stop.set()
        renewal.join()
        # Those of holders that were gone go first: while the own one stands nobody else can begin.
        for path in _all(artefact):
            if path <= lease.path:
                path.unlink(missing_ok=True)


def _take(artefact: Path, highest: Path | None) -> Lease | None:
    number = int(highest.suffix[1:]) + 1 if highest else 1
    path = artefact.with_name(f".{artefact.name}.lease.{number:06d}")
    process = os.getpid()
    holder = Holder(uuid.uuid4().hex, _host(), process, _start_of(process), own_job())
    written = artefact.with_name(f".{artefact.name}.{holder.token}.tmp")
    try:
        written.write_text(json.dumps(asdict(holder)), encoding="utf-8")
        with contextlib.suppress(FileExistsError):
            os.link(written, path)
        # The answer to a link can be lost on its way; whether it was made shows in the number of names.
        if written.stat().st_nlink != 2:
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
            return True  # Slurm starts a job again only after it has ended
        if holder.slurm_job:
            with contextlib.suppress(SlurmUnknownError):
                return not any(job.state != "PENDING" for job in live_jobs(holder.slurm_job))
    return _age(path) > EXPIRES_AFTER


def _age(path: Path) -> float:
    """Seconds since the last sign of life, both ends by the clock of the file system's server."""
    now = path.with_name(f".{uuid.uuid4().hex}.tmp")
    now.touch()
    try:
        return now.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0  # let go of just now; look again
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
    """Return when a process of this host started, empty where there is none."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    # Field 22 of proc(5), 3 is the first after the name; a zombie (Z) runs no more.
    return "" if fields[0] == "Z" else fields[19]

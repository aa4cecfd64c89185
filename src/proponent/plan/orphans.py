"""Jobs that a killed controller left on the cluster: waiting jobs are cancelled, running jobs are waited for.

The jobs of a controller outlive it on the cluster. Submitting them again would give two writers of one artefact, so
nothing is planned until they have ended; the artefacts that they finish count as made.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from pathlib import Path

from proponent.slurm import SlurmJob, SlurmUnknownError, cancel, live_jobs

_RUN_NAME = re.compile(r"(.+_)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""Name that Snakemake's executor gives to all jobs of a run: a prefix (slurm-jobname-prefix) and a random UUID."""
_POLL_SECONDS = 5.0
_POLL_AFTER_CANCEL_SECONDS = 1.0


def wait_for_orphans(root: Path) -> None:
    """Cancel the waiting jobs of earlier runs of this checkout, and wait until their running jobs have ended.

    This happens wherever Slurm is installed, whatever the executor of this run is: a local run would be a second writer too.

    Args:
        root: the checkout.
    """
    if shutil.which("squeue") is None:
        return
    reported: set[str] = set()
    try:
        while jobs := _of_checkout(live_jobs(), root):
            waiting = [job.number for job in jobs if job.state == "PENDING"]
            if waiting:
                cancel(waiting)
                _print(f"cancelled {len(waiting)} waiting jobs of an earlier run")
            new = [job for job in jobs if job.state != "PENDING" and job.number not in reported]
            if new:
                reported |= {job.number for job in new}
                names = ", ".join(f"{job.number} ({job.comment or 'running'})" for job in new)
                _print(
                    f"waiting for running jobs of an earlier run: {names}; scancel them to start them again now"
                )
            time.sleep(_POLL_AFTER_CANCEL_SECONDS if waiting else _POLL_SECONDS)
    except SlurmUnknownError as error:
        _print(
            f"cannot ask Slurm for jobs of an earlier run ({error}); leases keep two jobs from making the same artefact"
        )


def clear_incomplete_marks(root: Path, current: Iterable[str]) -> None:
    """Remove Snakemake's marks of interrupted jobs from artefacts whose manifests show that they are complete.

    Args:
        root: the checkout.
        current: paths of the artefacts that are current.
    """
    marks = root / ".snakemake" / "incomplete"
    if not marks.is_dir():
        return
    names = {path.name: path for path in marks.iterdir()}
    for artefact in current:
        mark = names.get(urlsafe_b64encode(artefact.encode()).decode())
        if mark is not None:
            mark.unlink(missing_ok=True)


def _of_checkout(jobs: Iterable[SlurmJob], root: Path) -> list[SlurmJob]:
    return [job for job in jobs if _RUN_NAME.fullmatch(job.name) and job.folder.resolve() == root.resolve()]


def _print(message: str) -> None:
    print(message, file=sys.stderr, flush=True)

"""Jobs that an earlier controller left behind on the cluster: what waits is cancelled, what runs is waited for.

A controller that was killed takes none of its jobs with it. Submitting them again would make two writers of one artefact, so
nothing is planned before they are gone; what they finish counts as made.
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
"""What Snakemake's executor calls all jobs of a run: a prefix (slurm-jobname-prefix) and a random number."""
_ASKED_EVERY = 5.0


def take_in(root: Path) -> None:
    """Wait until no job of an earlier run of this checkout is left; cancel those that have not begun.

    Asked wherever there is a Slurm, whatever this run's executor is: a local run must not be a second writer either.

    Args:
        root: the checkout.
    """
    if shutil.which("squeue") is None:
        return
    told: set[str] = set()
    try:
        while jobs := _of_checkout(live_jobs(), root):
            waiting = [job.number for job in jobs if job.state == "PENDING"]
            if waiting:
                cancel(waiting)
                _say(f"cancelled {len(waiting)} waiting jobs of an earlier run")
            new = [job for job in jobs if job.state != "PENDING" and job.number not in told]
            if new:
                told |= {job.number for job in new}
                names = ", ".join(f"{job.number} ({job.comment or 'running'})" for job in new)
                _say(
                    f"waiting for jobs of an earlier run that still run: {names}; scancel them to redo them now"
                )
            time.sleep(_ASKED_EVERY if not waiting else 1.0)
    except SlurmUnknownError as error:
        _say(
            f"cannot ask Slurm whether an earlier run left jobs ({error}); leases keep two from making the same"
        )


def forget_interruptions(root: Path, current: Iterable[str]) -> None:
    """Remove Snakemake's marks that what made ``current`` artefacts was interrupted: their manifests say otherwise."""
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


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)

"""What Slurm says of jobs, asked with its own commands; where there is no Slurm, nothing is known."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SECONDS = 60
"""How long to wait for an answer of a busy controller."""


@dataclass(frozen=True)
class SlurmJob:
    """A job that is waiting or running."""

    number: str
    name: str
    state: str
    folder: Path
    """Where it was submitted."""
    comment: str


class SlurmUnknownError(Exception):
    """Slurm could not be asked, or did not answer."""


def own_job() -> str:
    """Return the number of the job that this process belongs to; empty outside of one."""
    return os.environ.get("SLURM_JOB_ID", "")


def live_jobs(number: str = "") -> list[SlurmJob]:
    """Return this user's jobs that are waiting or running.

    Args:
        number: of one job; empty for all.

    Raises:
        SlurmUnknownError: ``squeue`` is missing, fails or does not answer.
    """
    only = ["--jobs", number] if number else ["--me"]
    done = _call("squeue", "--noheader", "--format", "%i\t%j\t%T\t%Z\t%k", *only)
    if done.returncode:
        if "Invalid job id" in done.stderr:
            return []
        if "configuration source" in done.stderr:
            return []  # its commands are installed, and belong to no cluster
        raise SlurmUnknownError((done.stderr.strip() or "squeue failed").splitlines()[-1])
    jobs = []
    for line in done.stdout.splitlines():
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) == 5 and fields[2] not in _OVER:
            jobs.append(SlurmJob(fields[0], fields[1], fields[2], Path(fields[3]), fields[4]))
    return jobs


def cancel(numbers: list[str]) -> None:
    """Cancel jobs that are still waiting; what runs already goes on.

    Raises:
        SlurmUnknownError: ``scancel`` is missing, fails or does not answer.
    """
    done = _call("scancel", "--state=PENDING", *numbers)
    if done.returncode:
        raise SlurmUnknownError(done.stderr.strip() or "scancel failed")


_OVER = frozenset(
    [
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "REVOKED",
        "TIMEOUT",
    ]
)


def _call(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which(command)
    if program is None:
        raise SlurmUnknownError(f"no {command} here")
    try:
        return subprocess.run(  # noqa: S603
            [program, *arguments], capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise SlurmUnknownError(f"{command} did not answer within {_SECONDS} s") from error

"""Queries to Slurm about the jobs of this user, through its own commands ``squeue`` and ``scancel``."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SECONDS = 60
"""Patience with a busy Slurm controller."""
_ENDED = frozenset(
    [
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED"),
        *("NODE_FAIL", "OUT_OF_MEMORY", "REVOKED", "TIMEOUT"),
    ]
)
"""States of jobs that squeue still lists for a while after their end."""


@dataclass(frozen=True)
class SlurmJob:
    """A job that is waiting or running."""

    number: str
    name: str
    state: str
    folder: Path
    """Working directory at submission."""
    reason: str = ""
    """Reason why the job waits, in parentheses, or the nodes on which it runs."""
    comment: str = ""


class SlurmUnknownError(Exception):
    """Slurm is not installed, or did not answer."""


def own_job() -> str:
    """Return the number of the Slurm job to which this process belongs, or an empty string outside of one."""
    return os.environ.get("SLURM_JOB_ID", "")


def live_jobs(number: str = "") -> list[SlurmJob]:
    """Return this user's jobs that are waiting or running.

    Args:
        number: number of a single job; empty for all jobs.

    Raises:
        SlurmUnknownError: ``squeue`` is missing, fails or does not answer.
    """
    only = ["--jobs", number] if number else ["--me"]
    done = _call("squeue", "--noheader", "--format", "%i\t%j\t%T\t%Z\t%R\t%k", *only)
    if done.returncode:
        if "Invalid job id" in done.stderr:
            return []
        if "configuration source" in done.stderr:
            return []  # Slurm's commands are installed, but not configured for a cluster.
        raise SlurmUnknownError((done.stderr.strip() or "squeue failed").splitlines()[-1])
    jobs = []
    for line in done.stdout.splitlines():
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) == 6 and fields[2] not in _ENDED:
            job, name, state, folder, reason, comment = fields
            jobs.append(SlurmJob(job, name, state, Path(folder), reason, comment))
    return jobs


def cancel(numbers: list[str]) -> None:
    """Cancel jobs that are still waiting; jobs that already run continue.

    Raises:
        SlurmUnknownError: ``scancel`` is missing, fails or does not answer.
    """
    done = _call("scancel", "--state=PENDING", *numbers)
    if done.returncode:
        raise SlurmUnknownError(done.stderr.strip() or "scancel failed")


def _call(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which(command)
    if program is None:
        raise SlurmUnknownError(f"{command} is not installed")
    try:
        return subprocess.run(  # noqa: S603
            [program, *arguments], capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise SlurmUnknownError(f"{command} did not answer within {_SECONDS} s") from error
    except OSError as error:
        raise SlurmUnknownError(f"{command} cannot be started: {error.strerror or error}") from error

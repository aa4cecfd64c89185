"""What is running and what failed: Snakemake's own log and lock, and the scheduler's queue where there is one."""

from __future__ import annotations

import datetime
import fcntl
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_STAMP = re.compile(r"^\[(\w{3} \w{3} [ \d]\d [\d:]{8} \d{4})\]$")
_START = re.compile(r"^(?:local)?(?:rule|checkpoint) (\w+):$")
_FIELD = re.compile(r"^(jobid|output|log): (.+)$")
_DONE = re.compile(r"^Finished jobid: (\d+)\b")
_ERROR = re.compile(r"^Error in rule (\w+)(?:, jobid: (\d+))?:?$")
_CORES = re.compile(r"^Provided cores: (\d+)")
_SENT = re.compile(r"^Job (\d+) has been submitted with SLURM jobid (\S+)")
_TAIL = 8192


@dataclass
class Attempt:
    """The last time that Snakemake started a job."""

    rule: str
    outputs: tuple[str, ...] = ()
    log: str | None = None
    started: datetime.datetime | None = None
    state: Literal["running", "done", "failed"] = "running"
    scheduler_id: str | None = None
    """Of Slurm, where it was sent there."""


@dataclass(frozen=True)
class Queued:
    """A line of the scheduler's queue."""

    state: str
    """PENDING, RUNNING, …"""
    reason: str
    """Why it waits, or where it runs."""


def read_log(lines: list[str]) -> list[Attempt]:
    """Return the jobs that a log of Snakemake tells of, in the order in which they were started first."""
    attempts: dict[str, Attempt] = {}
    stamp: datetime.datetime | None = None
    rule, fields = "", dict[str, str]()
    failing = False
    for raw in lines:
        line = raw.strip()
        if found := _STAMP.match(line):
            stamp = datetime.datetime.strptime(found[1], "%a %b %d %H:%M:%S %Y")
        elif found := _START.match(line) or _ERROR.match(line):
            rule, fields, failing = found[1], {}, line.startswith("Error")
        elif found := _FIELD.match(line):
            fields[found[1]] = found[2].removesuffix(" (check log file(s) for error details)")
            if "jobid" not in fields:
                continue
            number = fields["jobid"]
            if failing:
                attempts.setdefault(number, Attempt(rule)).state = "failed"
            elif found[1] == "jobid":
                kept = attempts.get(number)
                attempts[number] = Attempt(
                    rule, started=stamp, scheduler_id=kept.scheduler_id if kept else None
                )
            attempt = attempts[number]
            attempt.outputs = tuple(fields.get("output", ", ".join(attempt.outputs)).split(", "))
            attempt.log = fields["log"].split(", ")[0] if "log" in fields else attempt.log
        elif (found := _DONE.match(line)) and found[1] in attempts:
            attempts[found[1]].state = "done"
        elif (found := _SENT.match(line)) and found[1] in attempts:
            attempts[found[1]].scheduler_id = found[2].rstrip(".")
    return list(attempts.values())


def last_run(root: Path) -> tuple[list[Attempt], int]:
    """Return the jobs of the run that was started last in this checkout, and its cores; 0 where a cluster has them."""
    logs = sorted((root / ".snakemake" / "log").glob("*.snakemake.log"), reverse=True)
    for path in logs:
        with path.open(encoding="utf-8", errors="replace") as stream:
            lines = stream.readlines()
        if any(line.startswith("Select jobs to execute") for line in lines):
            cores = [int(found[1]) for line in lines if (found := _CORES.match(line))]
            return read_log(lines), cores[0] if cores else 0
    return [], 0


def holder(root: Path) -> str | None:
    """Return what runs in this checkout, such as ``process 123``; None where nothing does. Never waits."""
    path = root / "results" / ".running"
    if not path.exists():
        return None
    with path.open() as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return handle.read().strip() or "another process"
    return None


def queue() -> dict[str, Queued] | None:
    """Return this user's jobs in Slurm's queue by number; None where there is no Slurm, or it does not answer."""
    program = shutil.which("squeue")
    if program is None:
        return None
    command = [program, "--me", "--noheader", "--format=%A|%T|%R"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    rows = [line.split("|", 2) for line in done.stdout.splitlines() if line.count("|") >= 2]
    return {number: Queued(state, reason) for number, state, reason in rows}


def last_words(path: Path, count: int = 3) -> list[str]:
    """Return the last lines of a log, or only the one that says what was wrong; a progress bar is its latest state."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - _TAIL))
            text = stream.read().decode(errors="replace")
    except OSError:
        return []
    lines = [line for line in (raw.rstrip() for raw in re.split(r"[\r\n]+", text)) if line]
    errors = [line for line in lines if line.startswith("error: ")]
    return errors[-1:] or lines[-count:]

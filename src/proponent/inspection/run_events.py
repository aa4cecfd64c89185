"""Jobs of the last run in this checkout, from the events that Snakemake's logger plugin writes.

The plugin ``snakemake_logger_plugin_proponent`` documents the format of the events.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

EVENTS = Path(".snakemake", "proponent")
"""Folder of the event files, relative to the checkout; their names begin with the time of the start."""


@dataclass
class Attempt:
    """The last time that Snakemake started a job."""

    rule: str
    outputs: tuple[str, ...] = ()
    log: str | None = None
    started: datetime.datetime | None = None
    """Local time."""
    state: Literal["running", "done", "failed"] = "running"
    scheduler_id: str | None = None
    """Slurm's number of the job that runs it, if it was submitted to Slurm."""
    message: str = ""
    """What the executor says about a failed job."""


@dataclass
class Run:
    """What is known about a run."""

    attempts: list[Attempt] = field(default_factory=list)
    """In the order in which the jobs were started first."""
    cores: int = 0
    """Cores of a local run; 0 if unknown, as on a cluster."""


def read_events(lines: Iterable[str]) -> Run:
    """Return the run that the lines of an event file describe.

    Args:
        lines: JSON objects, one per line; the last one may be cut short, because the run may still be writing it.
    """
    attempts: dict[int, Attempt] = {}
    run = Run()
    for event in _parsed(lines):
        kind = event["event"]
        if kind == "run":
            run.cores = event.get("cores") or run.cores
        if "jobid" not in event:
            continue
        number = int(event["jobid"])
        if kind == "started":
            attempts[number] = _attempt(event, attempts.get(number))
        elif kind == "submitted":
            attempts.setdefault(number, _attempt(event)).scheduler_id = event.get("external_jobid")
        elif kind == "finished":
            attempts.setdefault(number, _attempt(event)).state = "done"
        elif kind == "error":
            attempt = attempts.setdefault(number, _attempt(event))
            attempt.state, attempt.message = "failed", str(event.get("message") or "")
    run.attempts = list(attempts.values())
    return run


def _parsed(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            yield event


def _attempt(event: dict[str, Any], earlier: Attempt | None = None) -> Attempt:
    logs = event.get("log") or [None]
    return Attempt(
        str(event.get("rule", "")),
        tuple(event.get("output") or ()),
        logs[0],
        datetime.datetime.fromtimestamp(event["time"]) if "time" in event else None,
        scheduler_id=earlier.scheduler_id if earlier else None,
    )


def last_run(root: Path) -> Run:
    """Return the last run of this checkout that started a job; an empty run if there was none."""
    for path in sorted((root / EVENTS).glob("*.jsonl"), reverse=True):
        with path.open(encoding="utf-8", errors="replace") as lines:
            run = read_events(lines)
        if run.attempts:
            return run
    return Run()

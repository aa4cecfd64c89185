"""Jobs of a run: running, done, failed, and an estimate of the time left."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from snakemake_logger_plugin_proponent.event_file import FOLDER


@dataclass(frozen=True)
class StartedJob:
    """A job as Snakemake describes it when it starts."""

    jobid: int
    rule: str
    wildcards: dict[str, str]
    input: list[str]
    output: list[str]
    log: list[str]
    started: float
    """Seconds since 1970."""

    def fields(self) -> dict[str, Any]:
        """Return the fields that events about this job have."""
        names = ("jobid", "rule", "wildcards", "output", "log")
        return {name: getattr(self, name) for name in names}


@dataclass
class RunState:
    """Progress of a run."""

    cores: int | None = None
    """Jobs that can run at a time on this machine; None on a cluster."""
    done: int = 0
    total: int = 0
    failed: set[int] = field(default_factory=set)
    """Numbers of failed jobs that were not started again."""
    waiting: Counter[str] = field(default_factory=Counter)
    """Number of jobs not yet started, by rule."""
    running: dict[int, StartedJob] = field(default_factory=dict)
    known: dict[int, StartedJob] = field(default_factory=dict)
    """All jobs that were started, by Snakemake's number."""
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Durations of finished jobs, by rule."""
    earlier: Mapping[str, float] = field(default_factory=dict)
    """Mean duration in an earlier run, by rule."""

    def plan(self, rules: Mapping[str, int]) -> None:
        """Set the number of jobs to run, by rule."""
        self.waiting, self.total = Counter(rules), sum(rules.values())

    def start(self, job: StartedJob) -> None:
        """Register the start of a job; a second start replaces the first."""
        if job.jobid not in self.known:
            self.waiting[job.rule] -= 1
        self.failed.discard(job.jobid)
        self.running[job.jobid] = self.known[job.jobid] = job

    def finish(self, jobid: int, time: float) -> StartedJob | None:
        """Register the successful end of a job and return it; None for a job that was never announced."""
        job = self.running.pop(jobid, None)
        if job is not None:
            self.done += 1
            self.seconds[job.rule].append(time - job.started)
        return job

    def fail(self, jobid: int) -> StartedJob | None:
        """Register the failure of a job and return it; None for a job that was never announced."""
        self.running.pop(jobid, None)
        self.failed.add(jobid)
        return self.known.get(jobid)

    def seconds_left(self, now: float) -> float | None:
        """Estimate the time until the end, from the durations of jobs of the same rule; None while nothing is known.

        Rules without a finished job count with their mean duration in the latest run that had one, else with the mean over
        all jobs of this run.
        """
        means = {**self.earlier, **{rule: fmean(values) for rule, values in self.seconds.items() if values}}
        if not means:
            return None
        finished = [value for values in self.seconds.values() for value in values]
        default = fmean(finished or means.values())
        work = sum(count * means.get(rule, default) for rule, count in self.waiting.items() if count > 0)
        for job in self.running.values():
            work += max(0.0, means.get(job.rule, default) - (now - job.started))
        return work / max(1, len(self.running), self.cores or 0)


def earlier_durations(folder: Path = FOLDER, runs: int = 5) -> dict[str, float]:
    """Return the mean seconds of finished jobs by rule, each from the latest of some runs that finished one.

    Args:
        folder: folder of event files.
        runs: number of the latest files to read.
    """
    means: dict[str, float] = {}
    for path in sorted(folder.glob("*.jsonl"))[-runs:]:
        with path.open(encoding="utf-8") as stream:
            means |= _mean_durations(stream)
    return means


def _mean_durations(lines: Iterable[str]) -> dict[str, float]:
    started: dict[int, float] = {}
    seconds: dict[str, list[float]] = defaultdict(list)
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:  # the last line of a killed run
            continue
        if event["event"] == "started":
            started[event["jobid"]] = event["time"]
        elif event["event"] == "finished" and event["jobid"] in started:
            seconds[event["rule"]].append(event["time"] - started[event["jobid"]])
    return {rule: fmean(values) for rule, values in seconds.items()}

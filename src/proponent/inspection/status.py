"""``proponent status``: finished, running and failed jobs of a run, and the time that the rest will take."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from proponent.formatting import duration
from proponent.inspection.failures import find_failures
from proponent.inspection.forecast import BASES, History, forecast, to_run
from proponent.inspection.measured_costs import read_history
from proponent.inspection.reported_jobs import setting_of
from proponent.inspection.run_events import Attempt, last_run
from proponent.plan import artefact_paths as paths
from proponent.plan.controller import controller_process
from proponent.plan.current import current_artefacts
from proponent.plan.graph import Graph, Node
from proponent.plan.run_plan import Plan
from proponent.slurm import SlurmJob, SlurmUnknownError, live_jobs
from proponent.store.failure_record import Failure
from proponent.store.job_log import log_tail
from proponent.store.manifest import find_manifest

_STAGES = {
    "data": "data",
    "check": "check",
    "train": "ensemble",
    "adopt_models": "ensemble",
    "train_script": "ensemble",
    "retrain": "retrainings",
    "retrain_script": "retrainings",
    "derive_masks": "retrainings",
    "retrain_masks": "retrainings",
    "search_removal": "retrainings",
    "patch_models": "retrainings",
    "ground_truth": "ground truth",
    "featurize": "features",
    "attribute": "scores",
    "adopt": "scores",
    "shuffle": "ensemble",
    "shuffle_labels": "data",
    "repeat": "scores",
    "evaluate": "metrics",
}
"""Columns of the table, by step."""
_REST = "tables"
"""Column of all other steps, which make tables and figures."""
_SHOWN = 12
"""Number of jobs that are listed per state; the others are only counted."""


J = TypeVar("J")


@dataclass
class Status:
    """Progress of a run."""

    wanted: list[Node]
    """Artefacts that the run makes, inputs first."""
    left: list[Node]
    """Artefacts that are not current yet."""
    running: dict[str, Attempt]
    """Running jobs, by artefact."""
    failed: dict[str, Failure]
    history: History
    alive: bool = False
    """Whether a Snakemake process holds the checkout."""
    at_a_time: int = 1
    """Number of jobs that the run starts at a time; 0 on a cluster, where the running jobs are counted instead."""
    ways_out: list[str] = field(default_factory=list)
    """How to continue without what failed, one line per setting."""

    @property
    def blocked(self) -> list[Node]:
        """Artefacts that this run cannot make, because something upstream failed."""
        lost = set(self.failed)
        for node in self.left:
            if lost.intersection(node.inputs):
                lost.add(node.path)
        return [node for node in self.left if node.path in lost and node.path not in self.failed]

    def seconds_left(self, now: datetime.datetime) -> float:
        """Return the expected seconds until everything is done that this run can still make."""
        unreachable = {*self.failed, *(node.path for node in self.blocked)} if self.alive else set()
        nodes = [node for node in self.left if node.path not in unreachable]
        left = {}
        for node in nodes:
            seconds = self.history.cost(node).seconds
            attempt = self.running.get(node.path)
            if attempt and attempt.started:
                seconds = max(0.0, seconds - (now - attempt.started).total_seconds())
            left[node.path] = seconds
        total = forecast(
            nodes, 0, lambda node: self.history.cost(node)._replace(seconds=left[node.path]), _stage, {}
        )
        return total.wall_seconds(max(self.at_a_time if self.alive else 1, len(self.running)))


def find_status(
    graph: Graph,
    targets: Sequence[str],
    attempts: Sequence[Attempt],
    alive: bool,
    queued: Mapping[str, SlurmJob] | None,
    at_a_time: int = 1,
) -> Status:
    """Compare the artefacts that are wanted with manifests, the events of the last run, and Slurm's queue.

    Args:
        graph: the graph of the configuration.
        targets: paths that a run makes in the end.
        attempts: jobs of the last run.
        alive: whether the Snakemake process of that run still works.
        queued: Slurm's queue by job number, None without Slurm. Jobs in it continue even without their Snakemake process.
        at_a_time: number of jobs that the run starts at a time.
    """
    current = current_artefacts(graph)
    left = to_run(graph, targets, current)
    missing = {node.path for node in left}
    running, seen_failing = {}, set()
    for attempt in attempts:
        for path in missing.intersection(attempt.outputs):
            in_queue = queued is not None and attempt.scheduler_id in queued
            if attempt.state == "running" and (alive or in_queue):
                running[path] = attempt
            elif attempt.state == "failed":
                seen_failing.add(path)
    # After its end, a run has left a record of each failure, and none of the jobs that the user interrupted.
    failures = find_failures(graph, current, attempts if alive else ())
    # While a run is alive, the record of an earlier run says nothing about a job that this run has not started yet.
    failures.own = {
        path: failure
        for path, failure in failures.own.items()
        if path in (seen_failing if alive else missing) and path not in running
    }
    return Status(
        wanted=to_run(graph, targets, ()),
        left=left,
        running=running,
        failed=failures.own,
        history=read_history(graph.root, graph, lambda node: None),
        alive=alive,
        at_a_time=at_a_time,
        ways_out=failures.ways_out(),
    )


def show_status(plan: Plan, console: Console) -> None:
    """Print the progress of the run of this checkout."""
    graph, root = plan.graph, plan.graph.root
    owner, queued, run = controller_process(root), _queue(), last_run(root)
    at_a_time = run.cores // plan.benchmark.config.compute.threads
    status = find_status(graph, plan.targets(), run.attempts, owner is not None, queued, at_a_time)
    now = datetime.datetime.now()
    _print_table(status, console)
    if status.running:
        console.print("\nrunning", style="bold")
    for path, attempt in _first(status.running, console):
        words = _running_words(root, attempt, status.history, graph.nodes[path], now, queued)
        console.print(f"  {path}  {words}", markup=False, soft_wrap=True)
    if status.failed:
        console.print("\nfailed", style="bold")
    rules = {path: attempt.rule for attempt in run.attempts for path in attempt.outputs}
    for path, failure in _first(status.failed, console):
        rule = rules.get(path, graph.nodes[path].step)
        console.print(f"  {path}  (rule {rule}, {failure.log or 'no log'})", markup=False, soft_wrap=True)
        console.print(f"    {failure.kind}: {failure.reason}", markup=False, soft_wrap=True)
    for line in status.ways_out:
        console.print(f"  {line}", markup=False, soft_wrap=True)
    without = reasons_to_leave_out(plan)
    without |= {
        f"{setting}: {metric}": reason
        for setting, reasons in plan.missing.items()
        for metric, reason in reasons.items()
    }
    if without:
        console.print("\nleft out", style="bold")
    for method, reason in _first(without, console):
        console.print(f"  {method}  {reason}", markup=False, soft_wrap=True)
    console.print()
    console.print(_summary(status, owner, now), soft_wrap=True)


def reasons_to_leave_out(plan: Plan) -> dict[str, str]:
    """Return the reason by ``SETTING/METHOD``, from the configuration and from the checks of settings that were made."""
    found: dict[str, str] = {}
    for setting, reasons in plan.reasons.items():
        check = find_manifest(plan.graph.root / paths.check(setting))
        checked = check.details.get("methods_left_out", {}) if check else {}
        checked = {method: checked[method] for method in plan.scores[setting] if method in checked}
        found |= {f"{setting}/{method}": reason for method, reason in {**reasons, **checked}.items()}
    return found


def _queue() -> dict[str, SlurmJob] | None:
    """Return this user's jobs in Slurm's queue by number; None without Slurm, or if it does not answer."""
    try:
        return {job.number: job for job in live_jobs()}
    except SlurmUnknownError:
        return None


def _first(jobs: dict[str, J], console: Console) -> list[tuple[str, J]]:
    if len(jobs) > _SHOWN:
        console.print(f"  {len(jobs)}, of which {_SHOWN}:")
    return list(jobs.items())[:_SHOWN]


def _running_words(
    root: Path,
    attempt: Attempt,
    history: History,
    node: Node,
    now: datetime.datetime,
    queued: Mapping[str, SlurmJob] | None,
) -> str:
    words = []
    if attempt.scheduler_id:
        job = (queued or {}).get(attempt.scheduler_id)
        words.append(f"Slurm {attempt.scheduler_id}" + (f" {job.state} {job.reason}" if job else ""))
    if attempt.started:
        words.append(duration(max(0.0, (now - attempt.started).total_seconds())))
    cost = history.cost(node)
    words.append(f"of about {duration(cost.seconds)}{' (estimated)' if cost.basis == BASES[-1] else ''}")
    progress = log_tail(root / attempt.log, 1) if attempt.log else []
    return ", ".join([*words, *(line.strip() for line in progress if "%" in line)])


def _summary(status: Status, owner: str | None, now: datetime.datetime) -> str:
    done = len(status.wanted) - len(status.left)
    counts = f"{done} of {len(status.wanted)} done"
    if not status.left:
        return f"{counts}: everything is current"
    counts += f", {len(status.running)} running, {len(status.failed)} failed"
    counts += f", {len(status.left) - len(status.running) - len(status.failed)} waiting"
    counts += f" ({len(status.blocked)} of them for failed jobs)" if status.blocked else ""
    seconds = status.seconds_left(now)
    if owner or status.running:
        end = now + datetime.timedelta(seconds=seconds)
        who = (
            owner or "no Snakemake process, but its jobs are in the queue: run `snakemake` again to continue"
        )
        return f"{counts}; {who}\nabout {duration(seconds)} left, until {end:%a %H:%M}"
    if not status.failed:
        return f"{counts}; nothing is running: run `snakemake` to continue ({duration(seconds)} of work)"
    others = len(status.left) - len(status.failed) - len(status.blocked)
    again = (
        f"makes {others} others and tries the failed jobs again"
        if others
        else "only tries the failed jobs again"
    )
    lines = [f"{counts}; nothing is running: `snakemake` {again} ({duration(seconds)} of work)"]
    if any(failure.kind == "refused" for failure in status.failed.values()):
        lines.append("what was refused is refused again until its configuration, data or code changes")
    return "\n".join(lines)


def _stage(node: Node) -> str:
    return _STAGES.get(node.step, _REST)


def _print_table(status: Status, console: Console) -> None:
    stages = list(dict.fromkeys([*_STAGES.values(), _REST]))
    left = {node.path for node in status.left}
    counts: dict[str, dict[str, list[int]]] = {}
    for node in status.wanted:
        row = counts.setdefault(setting_of(node) or "all settings", {})
        cell = row.setdefault(_stage(node), [0, 0, 0, 0])
        cell[0] += node.path not in left
        cell[1] += 1
        cell[2] += node.path in status.running
        cell[3] += node.path in status.failed
    table = Table("", *stages, box=None)
    for setting, row in counts.items():
        table.add_row(setting, *(_cell(row[stage]) if stage in row else "" for stage in stages))
    console.print(table)


def _cell(counts: list[int]) -> str:
    done, total, running, failed = counts
    words = f"{done}/{total}"
    words += f" [yellow]{running} running[/]" if running else ""
    words += f" [red]{failed} failed[/]" if failed else ""
    return f"[green]{words}[/]" if done == total else words

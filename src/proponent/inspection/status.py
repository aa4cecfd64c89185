"""``proponent status``: what is done, what runs, what failed and why, and how long the rest will take."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from proponent.inspection.cost_table import current_artefacts
from proponent.inspection.forecast import BASES, History, forecast, to_run
from proponent.inspection.formatting import duration
from proponent.inspection.measured_costs import read_history
from proponent.inspection.snakemake_log import Attempt, Queued, holder, last_run, last_words, queue
from proponent.plan.graph import Graph, Node
from proponent.plan.run_plan import Plan

_STAGES = {
    "data": "data",
    "train": "ensemble",
    "retrain": "retrainings",
    "ground_truth": "ground truth",
    "featurize": "features",
    "attribute": "scores",
    "adopt": "scores",
    "evaluate": "metrics",
}
"""Columns of the table; what is left is tables and figures."""
_REST = "tables"
_SHOWN = 12
"""Jobs of a kind that are listed; of more, only how many there are is said."""


@dataclass
class Status:
    """Where a run stands."""

    wanted: list[Node]
    """What it makes, inputs first."""
    left: list[Node]
    """Of these, what is not current."""
    running: dict[str, Attempt]
    """By artefact."""
    failed: dict[str, Attempt]
    history: History
    alive: bool = False
    """Whether a Snakemake is at work."""
    at_a_time: int = 1
    """Jobs that it starts at a time, where that is known; on a cluster it is seen how many run."""

    @property
    def blocked(self) -> list[Node]:
        """What waits for something that failed, so that this run does not come to it."""
        lost = set(self.failed)
        for node in self.left:
            if lost.intersection(node.inputs):
                lost.add(node.path)
        return [node for node in self.left if node.path in lost and node.path not in self.failed]

    def seconds_left(self, now: datetime.datetime) -> float:
        """Return the expected time until all is done that this run can come to."""
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
    queued: Mapping[str, Queued] | None,
    at_a_time: int = 1,
) -> Status:
    """Compare what is wanted with what is there and what Snakemake and the scheduler say.

    Args:
        graph: of the configuration.
        targets: what a run makes in the end.
        attempts: of the last run.
        alive: whether its Snakemake is still at work.
        queued: the scheduler's queue, if there is one; jobs in it run on without their Snakemake.
        at_a_time: jobs that the run starts at a time, where that is known.
    """
    current = current_artefacts(graph)
    left = to_run(graph, targets, current)
    missing = {node.path for node in left}
    running, failed = {}, {}
    for attempt in attempts:
        for path in missing.intersection(attempt.outputs):
            in_queue = queued is not None and attempt.scheduler_id in queued
            if attempt.state == "running" and (alive or in_queue):
                running[path] = attempt
            elif attempt.state == "failed":
                failed[path] = attempt
    history = read_history(graph.root, graph, lambda node: None)
    return Status(to_run(graph, targets, ()), left, running, failed, history, alive, at_a_time)


def show_status(plan: Plan, console: Console) -> None:
    """Print where the run of this checkout stands."""
    graph, root = plan.graph, plan.graph.root
    owner, queued, (attempts, cores) = holder(root), queue(), last_run(root)
    at_a_time = cores // plan.benchmark.config.compute.threads
    status = find_status(graph, plan.targets(), attempts, owner is not None, queued, at_a_time)
    now = datetime.datetime.now()  # local time, as Snakemake's log
    _print_table(status, console)
    if status.running:
        console.print("\nrunning", style="bold")
    for path, attempt in _first(status.running, console):
        words = _running_words(root, attempt, status.history, graph, now, queued)
        console.print(f"  {path}  {words}", markup=False, soft_wrap=True)
    if status.failed:
        console.print("\nfailed", style="bold")
    for path, attempt in _first(status.failed, console):
        console.print(f"  {path}  (rule {attempt.rule}, {attempt.log or 'no log'})")
        for line in last_words(root / attempt.log) if attempt.log else ():
            console.print(f"    {line}", markup=False, soft_wrap=True)
    console.print()
    console.print(_verdict(status, owner, now))


def _first(jobs: dict[str, Attempt], console: Console) -> list[tuple[str, Attempt]]:
    if len(jobs) > _SHOWN:
        console.print(f"  {len(jobs)} jobs, of which {_SHOWN}:")
    return list(jobs.items())[:_SHOWN]


def _running_words(
    root: Path,
    attempt: Attempt,
    history: History,
    graph: Graph,
    now: datetime.datetime,
    queued: Mapping[str, Queued] | None,
) -> str:
    words = []
    if attempt.scheduler_id:
        entry = (queued or {}).get(attempt.scheduler_id)
        words.append(f"Slurm {attempt.scheduler_id}" + (f" {entry.state} {entry.reason}" if entry else ""))
    if attempt.started:
        words.append(duration(max(0.0, (now - attempt.started).total_seconds())))
    cost = history.cost(next(graph.nodes[path] for path in attempt.outputs if path in graph.nodes))
    words.append(f"of about {duration(cost.seconds)}{' (estimated)' if cost.basis == BASES[-1] else ''}")
    said = last_words(root / attempt.log, 1) if attempt.log else []
    return ", ".join([*words, *(line.strip() for line in said if "%" in line)])


def _verdict(status: Status, owner: str | None, now: datetime.datetime) -> str:
    done = len(status.wanted) - len(status.left)
    counts = f"{done} of {len(status.wanted)} done"
    if not status.left:
        return f"{counts}: all is current"
    counts += f", {len(status.running)} running, {len(status.failed)} failed"
    counts += f", {len(status.left) - len(status.running) - len(status.failed)} waiting"
    counts += f" ({len(status.blocked)} of them for what failed)" if status.blocked else ""
    seconds = status.seconds_left(now)
    if owner or status.running:
        end = now + datetime.timedelta(seconds=seconds)
        who = owner or "no Snakemake, though jobs of it are in the queue: `snakemake` again takes over"
        return f"{counts}; {who}\nabout {duration(seconds)} left, until {end:%a %H:%M}"
    return f"{counts}; nothing is running: `snakemake` goes on ({duration(seconds)} of work)"


def _stage(node: Node) -> str:
    return _STAGES.get(node.step, _REST)


def _print_table(status: Status, console: Console) -> None:
    stages = list(dict.fromkeys([*_STAGES.values(), _REST]))
    left = {node.path for node in status.left}
    counts: dict[str, dict[str, list[int]]] = {}
    for node in status.wanted:
        row = counts.setdefault(_setting(node.content), {})
        cell = row.setdefault(_stage(node), [0, 0, 0, 0])
        cell[0] += node.path not in left
        cell[1] += 1
        cell[2] += node.path in status.running
        cell[3] += node.path in status.failed
    table = Table("", *stages, box=None)
    for setting, row in counts.items():
        table.add_row(setting, *(_cell(row[stage]) if stage in row else "" for stage in stages))
    console.print(table)


def _setting(spec: Mapping[str, Any]) -> str:
    return str(spec.get("setting", "all settings"))


def _cell(counts: list[int]) -> str:
    done, total, running, failed = counts
    words = f"{done}/{total}"
    words += f" [yellow]{running} running[/]" if running else ""
    words += f" [red]{failed} failed[/]" if failed else ""
    return f"[green]{words}[/]" if done == total else words

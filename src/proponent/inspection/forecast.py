"""Forecast of a run before any of it is submitted: jobs, hours, bytes and memory per rule.

Pure functions from the graph, its current artefacts and the costs of earlier jobs to tables. The cost of a job comes
from the first that exists of: an earlier run of the same job (under any key); earlier jobs of the same kind on the same
setting; such jobs on other settings; a stated estimate. Jobs that are counted in models (retrainings, members) are
scaled by their number, in addition to the seconds that any job needs to start.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from proponent.inspection.closure import closure
from proponent.inspection.reported_jobs import Task, kind_of, setting_of, units
from proponent.plan.graph import Graph, Node

BASES = ("same job", "same setting", "other settings", "estimate")
"""Origins of a cost, best first."""


class Cost(NamedTuple):
    """Cost of one job."""

    seconds: float
    memory_mib: float
    bytes: float
    """Size of the artefact on disk."""
    basis: str = "estimate"
    """One of :data:`BASES`."""


START_SECONDS = 3.0
"""Start of any job: Python loads its libraries."""
ESTIMATES: dict[str, Cost] = {
    "data": Cost(2, 500, 10e6),
    "check": Cost(3, 700, 1e3),
    "train": Cost(1, 500, 500e3),
    "adopt_models": Cost(1, 500, 500e3),
    "retrain": Cost(0.5, 500, 5e3),
    "derive_masks": Cost(1, 300, 1e6),
    "retrain_masks": Cost(0.5, 500, 5e3),
    "search_removal": Cost(0.5, 500, 100),
    "patch_models": Cost(5, 700, 500e3),
    "train_script": Cost(30, 1000, 500e3),
    "retrain_script": Cost(30, 1000, 5e3),
    "ground_truth": Cost(1, 300, 1e6),
    "featurize": Cost(2, 800, 10e6),
    "attribute": Cost(10, 800, 5e6),
    "adopt": Cost(10, 800, 5e6),
    "shuffle": Cost(1, 400, 500e3),
    "shuffle_labels": Cost(1, 500, 10e6),
    "repeat": Cost(10, 800, 5e6),
    "correlate": Cost(10, 500, 50e3),
    "evaluate": Cost(5, 400, 50e3),
    "collect": Cost(5, 300, 100e3),
    "summary": Cost(1, 300, 10e3),
    "figures": Cost(10, 500, 1e6),
    "overview": Cost(5, 300, 200e3),
    "explain_gallery": Cost(60, 1000, 1e6),
    "report_section": Cost(5, 400, 1e6),
    "report": Cost(5, 400, 10e6),
}
"""Costs without any measurement, for a setting as small as the default ones: seconds and bytes per unit (see
:func:`proponent.inspection.reported_jobs.units`) and memory per job."""
_WRITES_ONE = ("attribute", "adopt", "repeat")
"""Steps whose artefact is equally large for one member and for many."""


@dataclass
class History:
    """Costs of earlier jobs."""

    by_job: dict[str, Cost] = field(default_factory=dict)
    """Cost by path of the artefact."""
    by_kind: dict[tuple[str, str], dict[str, list[tuple[int, Cost]]]] = field(default_factory=dict)
    """Numbers of units and costs, by kind and setting."""

    def add(self, node: Task, cost: Cost) -> None:
        """Add the cost of an earlier job."""
        self.by_job[node.path] = cost._replace(basis=BASES[0])
        settings = self.by_kind.setdefault(kind_of(node), {})
        settings.setdefault(setting_of(node), []).append((units(node), cost))

    def cost(self, node: Task) -> Cost:
        """Return the expected cost of a job, with its origin."""
        if node.path in self.by_job:
            return self.by_job[node.path]
        settings = self.by_kind.get(kind_of(node), {})
        setting = setting_of(node)
        if setting in settings:
            return _typical(node, settings[setting], BASES[1])
        if settings:
            return _typical(node, [job for jobs in settings.values() for job in jobs], BASES[2])
        unit = ESTIMATES[node.step]
        return _typical(node, [(1, unit._replace(seconds=START_SECONDS + unit.seconds))], BASES[3])


def _typical(node: Task, jobs: list[tuple[int, Cost]], basis: str) -> Cost:
    """Return the cost of a job whose units cost as much as those of other jobs on average; memory is the largest of them.

    Args:
        node: the job.
        jobs: number of units and cost of each job of the same kind.
        basis: origin of these costs.
    """
    n, total = units(node), sum(count for count, _ in jobs)
    start = min(START_SECONDS, *(cost.seconds for _, cost in jobs))
    seconds = start + n * sum(cost.seconds - start for _, cost in jobs) / total
    written = sum(cost.bytes for _, cost in jobs)
    written *= 1 / len(jobs) if node.step in _WRITES_ONE else n / total
    return Cost(seconds, max(cost.memory_mib for _, cost in jobs), written, basis)


def to_run(graph: Graph, targets: Iterable[str], current: Collection[str]) -> list[Node]:
    """Return the jobs that a run starts, inputs first.

    Stale and missing artefacts are made again, because settling gives them a new key file, and so is everything downstream.

    Args:
        graph: the graph of the current configuration.
        targets: paths to make; those that are not artefacts of the graph are skipped.
        current: paths of the artefacts that are current.
    """
    wanted = set(
        closure(
            (path for path in targets if path in graph.nodes),
            lambda path: graph.nodes[path].inputs + (() if path in current else graph.nodes[path].after),
        )
    )
    runs: dict[str, Node] = {}
    for path, node in graph.nodes.items():
        if path in wanted and (path not in current or any(name in runs for name in node.inputs)):
            runs[path] = node
    return list(runs.values())


class Resources(NamedTuple):
    """Resources that a rule declares for its first attempt."""

    threads: int = 1
    mem_mb: int = 0
    runtime: int = 0
    """Minutes."""
    gpu: int = 0
    local: bool = False
    """Whether it runs on the machine of the controller, whatever the profile."""
    group: str | None = None


@dataclass
class RuleForecast:
    """Total of the jobs of one rule."""

    rule: str
    resources: Resources
    jobs: int = 0
    seconds: float = 0.0
    """Wall-clock time of all jobs, one after the other."""
    bytes: float = 0.0
    memory_mib: float = 0.0
    """Memory of the largest job."""
    bases: Counter[str] = field(default_factory=Counter)

    @property
    def cpu_hours(self) -> float:
        """Core hours."""
        return self.seconds * self.resources.threads / 3600

    @property
    def gpu_hours(self) -> float:
        """Device hours."""
        return self.seconds * self.resources.gpu / 3600


@dataclass
class Forecast:
    """Forecast of a whole run."""

    rules: list[RuleForecast]
    current: int
    """Number of artefacts that are current."""
    longest: float
    """Seconds of the longest chain of jobs that wait for each other: no number of machines is faster."""

    @property
    def jobs(self) -> int:
        """Number of jobs of all rules."""
        return sum(rule.jobs for rule in self.rules)

    @property
    def seconds(self) -> float:
        """Wall-clock time of all jobs, one after the other."""
        return sum(rule.seconds for rule in self.rules)

    def wall_seconds(self, at_a_time: int) -> float:
        """Return the shortest possible time with so many jobs at a time: the work divided evenly, or the longest chain."""
        return max(self.seconds / max(1, at_a_time), self.longest)


def forecast(
    jobs: list[Node],
    current: int,
    cost: Callable[[Node], Cost],
    rule_of: Callable[[Node], str],
    resources: Mapping[str, Resources],
) -> Forecast:
    """Add up the costs of jobs.

    Args:
        jobs: the jobs, inputs first.
        current: number of artefacts that are current.
        cost: function that returns the cost of a job.
        rule_of: function that returns the name of a job's rule.
        resources: resources that rules declare, by name of the rule.
    """
    rules: dict[str, RuleForecast] = {}
    ends: dict[str, float] = defaultdict(float)
    for node in jobs:
        name, own = rule_of(node), cost(node)
        entry = rules.setdefault(name, RuleForecast(name, resources.get(name, Resources())))
        entry.jobs += 1
        entry.seconds += own.seconds
        entry.bytes += own.bytes
        entry.memory_mib = max(entry.memory_mib, own.memory_mib)
        entry.bases[own.basis] += 1
        before = (*node.inputs, *node.after)
        ends[node.path] = own.seconds + max((ends[name] for name in before if name in ends), default=0.0)
    return Forecast(list(rules.values()), current, max(ends.values(), default=0.0))


def submissions(jobs: int, together: int) -> int:
    """Return the number of submissions of ``jobs`` jobs if ``together`` of them share one."""
    return math.ceil(jobs / max(1, together))

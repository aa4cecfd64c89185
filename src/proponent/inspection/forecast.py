"""What a run will cost, before any of it is submitted: jobs, hours, bytes and memory, rule by rule.

Pure: from the graph, which of its artefacts are current, and what earlier jobs cost, to tables. A job's cost comes from
the nearest of: an earlier run of the same job (under any key); earlier jobs of the same kind on the same setting; such
jobs on other settings; a stated estimate. What is counted in models (retrainings, members) is scaled by their number,
beside the seconds in which any job starts.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from proponent.plan.graph import Graph, Node

BASES = ("same job", "same setting", "other settings", "estimate")
"""Where a cost comes from, the best first."""


class Task(Protocol):
    """A job, planned (a node) or done long ago (of a manifest)."""

    @property
    def path(self) -> str: ...  # noqa: D102
    @property
    def step(self) -> str: ...  # noqa: D102
    @property
    def content(self) -> dict[str, Any]: ...  # noqa: D102


class Cost(NamedTuple):
    """Of one job."""

    seconds: float
    memory_mib: float
    bytes: float
    """Left on disk."""
    basis: str = "estimate"
    """One of :data:`BASES`."""


START_SECONDS = 3.0
"""Of any job: Python and its libraries are loaded."""
ESTIMATES: dict[str, Cost] = {
    "data": Cost(2, 500, 10e6),
    "train": Cost(1, 500, 500e3),
    "retrain": Cost(0.5, 500, 5e3),
    "ground_truth": Cost(1, 300, 1e6),
    "featurize": Cost(2, 800, 10e6),
    "attribute": Cost(10, 800, 5e6),
    "adopt": Cost(10, 800, 5e6),
    "evaluate": Cost(5, 400, 50e3),
    "collect": Cost(5, 300, 100e3),
    "summary": Cost(1, 300, 10e3),
    "figures": Cost(10, 500, 1e6),
    "overview": Cost(5, 300, 200e3),
}
"""Where nothing was measured: seconds and bytes of a unit (see :func:`units`) and the memory of a job, for a setting as
small as the default ones."""
_WRITES_ONE = ("attribute", "adopt")
"""Steps whose result is as large for many members as for one."""


def units(node: Task) -> int:
    """Return how many models a job trains or looks at: retrainings, or members; 1 for others."""
    if node.step == "retrain":
        first, stop = node.content["runs"]
        return int(stop) - int(first)
    members = node.content.get("members")
    if node.step == "attribute" and isinstance(members, int):
        return members
    return len(members) if isinstance(members, list) else 1


def kind_of(step: str, spec: Mapping[str, object]) -> tuple[str, str]:
    """Return what jobs must have in common to be of one kind: the step, and the method or kind of features."""
    own = {"attribute": "method", "adopt": "method", "featurize": "kind"}.get(step)
    return (step, str(spec[own]) if own else "")


@dataclass
class History:
    """What earlier jobs cost."""

    by_job: dict[str, Cost] = field(default_factory=dict)
    """By the path of the artefact."""
    by_kind: dict[tuple[str, str], dict[str, list[tuple[int, Cost]]]] = field(default_factory=dict)
    """With the number of units, by kind and setting."""

    def add(self, node: Task, cost: Cost) -> None:
        """Remember what a job cost."""
        self.by_job[node.path] = cost._replace(basis=BASES[0])
        kind = kind_of(node.step, node.content)
        settings = self.by_kind.setdefault(kind, {})
        settings.setdefault(str(node.content.get("setting", "")), []).append((units(node), cost))

    def cost(self, node: Task) -> Cost:
        """Return what a job is expected to cost, and on what basis."""
        if node.path in self.by_job:
            return self.by_job[node.path]
        settings = self.by_kind.get(kind_of(node.step, node.content), {})
        setting = str(node.content.get("setting", ""))
        if setting in settings:
            return _typical(node, settings[setting], BASES[1])
        if settings:
            return _typical(node, [job for jobs in settings.values() for job in jobs], BASES[2])
        unit = ESTIMATES[node.step]
        return _typical(node, [(1, unit._replace(seconds=START_SECONDS + unit.seconds))], BASES[3])


def _typical(node: Task, jobs: list[tuple[int, Cost]], basis: str) -> Cost:
    """Return what a job costs if its units cost as much as those of other jobs on average; memory is the largest.

    Args:
        node: the job.
        jobs: of its kind, with the number of their units.
        basis: where the jobs' costs come from.
    """
    n, total = units(node), sum(count for count, _ in jobs)
    start = min(START_SECONDS, *(cost.seconds for _, cost in jobs))
    seconds = start + n * sum(cost.seconds - start for _, cost in jobs) / total
    written = sum(cost.bytes for _, cost in jobs)
    written *= 1 / len(jobs) if node.step in _WRITES_ONE else n / total
    return Cost(seconds, max(cost.memory_mib for _, cost in jobs), written, basis)


def to_run(graph: Graph, targets: Iterable[str], current: Collection[str]) -> list[Node]:
    """Return the jobs that a run starts, inputs first.

    What is stale or missing is made again, since settling gives it a new key file, and so is whatever is made from it.

    Args:
        graph: of the current configuration.
        targets: paths, of which those that are no artefacts of their own are passed over.
        current: paths of the artefacts that are as the configuration asks.
    """
    wanted = {path for path in targets if path in graph.nodes}
    pending = list(wanted)
    while pending:
        for name in graph.nodes[pending.pop()].inputs:
            if name not in wanted:
                wanted.add(name)
                pending.append(name)
    runs: dict[str, Node] = {}
    for path, node in graph.nodes.items():
        if path in wanted and (path not in current or any(name in runs for name in node.inputs)):
            runs[path] = node
    return list(runs.values())


class Resources(NamedTuple):
    """What a rule declares for its first attempt."""

    threads: int = 1
    mem_mb: int = 0
    runtime: int = 0
    """Minutes."""
    gpu: int = 0
    local: bool = False
    """Runs beside the controller, whatever the profile."""
    group: str | None = None


@dataclass
class RuleForecast:
    """The jobs of one rule together."""

    rule: str
    resources: Resources
    jobs: int = 0
    seconds: float = 0.0
    """Wall-clock, one after the other."""
    bytes: float = 0.0
    memory_mib: float = 0.0
    """Of the largest job."""
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
    """A whole run."""

    rules: list[RuleForecast]
    current: int
    """Artefacts that are there already."""
    longest: float
    """Seconds of the longest chain of jobs that wait for one another: no number of machines is faster."""

    @property
    def jobs(self) -> int:
        """Of all rules."""
        return sum(rule.jobs for rule in self.rules)

    @property
    def seconds(self) -> float:
        """Of all jobs, one after the other."""
        return sum(rule.seconds for rule in self.rules)

    def wall_seconds(self, at_a_time: int) -> float:
        """Return the least time that so many jobs at a time take: all work shared out, or the longest chain."""
        return max(self.seconds / max(1, at_a_time), self.longest)


def forecast(
    jobs: list[Node],
    current: int,
    cost: Callable[[Node], Cost],
    rule_of: Callable[[Node], str],
    resources: Mapping[str, Resources],
) -> Forecast:
    """Add up what jobs cost.

    Args:
        jobs: inputs first.
        current: how many artefacts are there already.
        cost: of one.
        rule_of: name of a job's rule.
        resources: that rules declare, by name.
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
        ends[node.path] = own.seconds + max((ends[name] for name in node.inputs if name in ends), default=0.0)
    return Forecast(list(rules.values()), current, max(ends.values(), default=0.0))


def submissions(jobs: int, together: int) -> int:
    """Return how many jobs the scheduler sees where so many of a group share one."""
    return math.ceil(jobs / max(1, together))

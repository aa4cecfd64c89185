"""``proponent plan``: the forecast of the jobs that ``snakemake`` would start, as tables."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from proponent.config.specifications.method_specs import AttributeSpec
from proponent.formatting import duration, size
from proponent.inspection.declared_resources import Workflow, read_workflow
from proponent.inspection.forecast import BASES, Cost, Forecast, Resources, forecast, to_run
from proponent.inspection.measured_costs import read_history
from proponent.inspection.planned_retrainings import lines_on_retrainings
from proponent.inspection.submissions import LOCAL, Profile, read_profile
from proponent.machine_limits import machine_limits
from proponent.memory_budget import PlannedMemory
from proponent.plan.current import current_artefacts
from proponent.plan.graph import Node
from proponent.plan.local_jobs import jobs_at_a_time

MemoryOf = Callable[[AttributeSpec], float | None]
PlannedOf = Callable[[AttributeSpec], PlannedMemory | None]
_WORDS = dict(zip(BASES, ("measured", "measured here", "measured elsewhere", "estimated"), strict=True))


def forecast_of(
    root: Path, workflow: Workflow, memory_of: MemoryOf | None = None
) -> tuple[Forecast, list[Node]]:
    """Return the forecast of a run that starts now, and its jobs, inputs first.

    Args:
        root: the checkout.
        workflow: the Snakefile that was read.
        memory_of: function that returns the memory of a method's job in MiB where it can be computed; it replaces
            measurements on other settings.
    """
    graph = workflow.plan.graph
    current = current_artefacts(graph)
    jobs = to_run(graph, workflow.plan.targets(), current)
    history = read_history(root, graph, workflow.benchmark_of)
    resources: dict[str, Resources] = {}
    for node in jobs:
        resources.setdefault(workflow.rule_of(node), workflow.resources(node))

    def cost(node: Node) -> Cost:
        found = history.cost(node)
        if memory_of is None or found.basis in BASES[:2] or not isinstance(node.spec, AttributeSpec):
            return found
        return found._replace(memory_mib=max(found.memory_mib, memory_of(node.spec) or 0))

    return forecast(jobs, len(current), cost, workflow.rule_of, resources), jobs


def show_plan(
    root: Path,
    config: Sequence[str],
    profile: str | None,
    console: Console,
    memory_of: MemoryOf | None = None,
    planned_of: PlannedOf | None = None,
) -> None:
    """Print jobs, hours, bytes and memory of a run per rule, and with a profile the partitions of its jobs.

    Args:
        root: the checkout.
        config: items ``name=value``, as for ``snakemake --config``.
        profile: name of a folder in ``profiles/``.
        console: console to print on.
        memory_of: as for :func:`forecast_of`.
        planned_of: function that returns the memory of a method's tensors, where it can be computed.
    """
    chosen = read_profile(root, profile) if profile else None
    workflow = read_workflow(root, config)
    total, jobs = forecast_of(root, workflow, memory_of)
    if not total.jobs:
        console.print(f"nothing to do: {total.current} artefacts are current")
        return
    _print_rules(total, console)
    already = f"; {total.current} artefacts are current" if total.current else ""
    console.print(f"{total.jobs} jobs{already}")
    for line in lines_on_retrainings(jobs, workflow.plan.benchmark.metrics):
        console.print(line, markup=False, soft_wrap=True)
    for line in lines_on_memory(jobs, planned_of) if planned_of else ():
        console.print(line, markup=False, soft_wrap=True)
    if chosen is None or chosen.executor == "local":
        compute = workflow.plan.benchmark.config.compute
        at_a_time = jobs_at_a_time(machine_limits(), compute.threads, compute.memory_mib)
        least = duration(total.wall_seconds(at_a_time))
        console.print(f"on this machine, {at_a_time} at a time: {least} at least")
        return
    _print_profile(total, chosen, workflow, console)


def lines_on_memory(jobs: Sequence[Node], planned_of: PlannedOf) -> Iterator[str]:
    """Yield the methods for which ``compute.memory_mib`` does not suffice for all queries at once, one line each."""
    for node in jobs:
        spec = node.spec
        # Repeated scores (RepeatSpec) need what the method itself needs.
        planned = (
            planned_of(spec) if isinstance(spec, AttributeSpec) and spec.step == AttributeSpec.step else None
        )
        if (
            planned is None
            or planned.together_mib <= planned.budget_mib
            or not isinstance(spec, AttributeSpec)
        ):
            continue
        least, together = (f"{math.ceil(mib):,} MiB" for mib in (planned.least_mib, planned.together_mib))
        budget = f"compute.memory_mib is {planned.budget_mib:,.0f}"
        where = f"{spec.setting}/{spec.method}"
        if planned.fits:
            yield f"in blocks of queries: {where} takes {together} for all at once, and {budget}"
        else:
            yield f"left out: {where} needs {least} and {budget}; raise it, or leave the method out"


def _print_rules(total: Forecast, console: Console) -> None:
    table = Table("rule", "jobs", "CPU time", "GPU time", "on disk", "memory", "known from", box=None)
    for column in table.columns[1:6]:
        column.justify = "right"
    for rule in total.rules:
        table.add_row(
            rule.rule,
            str(rule.jobs),
            duration(rule.cpu_hours * 3600),
            duration(rule.gpu_hours * 3600) if rule.gpu_hours else "",
            size(rule.bytes),
            f"{rule.memory_mib:.0f} MiB",
            _known_from(rule.bases),
        )
    table.add_section()
    table.add_row(
        "all",
        str(total.jobs),
        duration(sum(rule.cpu_hours for rule in total.rules) * 3600),
        duration(sum(rule.gpu_hours for rule in total.rules) * 3600) if _gpus(total) else "",
        size(sum(rule.bytes for rule in total.rules)),
        f"{max(rule.memory_mib for rule in total.rules):.0f} MiB",
        _known_from(sum((rule.bases for rule in total.rules), Counter())),
    )
    console.print(table)


def _gpus(total: Forecast) -> int:
    return sum(rule.jobs for rule in total.rules if rule.resources.gpu)


def _known_from(bases: Counter[str]) -> str:
    if len(bases) == 1:
        return _WORDS[next(iter(bases))]
    return ", ".join(f"{bases[basis]} {_WORDS[basis]}" for basis in BASES if bases[basis])


def _print_profile(total: Forecast, profile: Profile, workflow: Workflow, console: Console) -> None:
    console.print()
    console.print(_partitions(total, profile))
    compute = workflow.plan.benchmark.config.compute
    pieces = profile.submissions((rule.jobs, rule.resources) for rule in total.rules)
    sent = sum(pieces.values())
    shared = "".join(
        f"; {count} {group} in one submission: {pieces[group]}"
        for group, count in profile.together.items()
        if group in pieces
    )
    console.print(
        f"{compute.models_per_job} retrainings and {compute.members_per_job} members in one job{shared}"
    )
    cap = f"at most {profile.jobs} queued or running" if profile.jobs else "no cap on queued jobs"
    rate = f", {profile.rate} sent: {duration(profile.submission_seconds(sent))}" if profile.rate else ""
    console.print(f"{sent} submissions, {cap}{rate}")
    local = sum(rule.seconds * rule.resources.threads for rule in total.rules if rule.resources.local)
    least = max(
        total.wall_seconds(profile.jobs or sent or 1),
        profile.submission_seconds(sent),
        local / profile.local_cores,
    )
    console.print(f"{duration(least)} at least, if the cluster starts every job at once")


def _partitions(total: Forecast, profile: Profile) -> Table:
    """Return the table of the partition, submissions and resources of each rule, rules that run locally last."""
    table = Table("goes to", "rule", "jobs", "submissions", "threads", "memory", "run time", "GPUs", box=None)
    for column in table.columns[2:]:
        column.justify = "right"
    for rule in sorted(total.rules, key=lambda rule: profile.place_of(rule.rule, rule.resources) == LOCAL):
        asked = rule.resources
        own = sum(profile.submissions([(rule.jobs, asked)]).values())
        table.add_row(
            profile.place_of(rule.rule, asked),
            rule.rule,
            str(rule.jobs),
            "shared" if asked.group in profile.together else str(own or ""),
            str(asked.threads),
            f"{asked.mem_mb} MB",
            f"{asked.runtime} min",
            str(asked.gpu) if asked.gpu else "",
        )
    return table

"""Limits for jobs that Snakemake runs on this machine: no more at a time than memory and CPU quota allow.

Snakemake starts as many jobs as there are cores, and knows nothing of memory unless ``--resources mem_mb=…`` states it, nor
of the quota of a container.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from pathlib import Path
from typing import Any

from proponent.machine_limits import MachineLimits, machine_limits, usable_cores

CONTROLLER_MIB = 500
"""Memory that is left to Snakemake itself and to the rest of the system."""


def job_memory_mb(memory_mib: int) -> int:
    """Return the memory that a job declares, in MB: ``compute.memory_mib``, and the interpreter with its libraries."""
    return memory_mib + 1000


def memory_for_jobs(limits: MachineLimits) -> int:
    """Return the memory for all jobs together, in MB as rules declare it."""
    return max(1, int(limits.memory_mib - CONTROLLER_MIB))


def cores_for_jobs(limits: MachineLimits) -> int:
    """Return the number of cores for all jobs together."""
    return max(1, int(limits.cores))


def limit_local_jobs(workflow: Any, memory_mib: int) -> None:
    """Give Snakemake the memory and the cores of this machine as global resources, and print what they restrict.

    Whatever the user states wins: ``--cores N`` over the quota, ``--resources mem_mb=N`` over the memory found. Jobs that
    are submitted to a cluster are not limited.

    Args:
        workflow: Snakemake's workflow, before its jobs are planned.
        memory_mib: ``compute.memory_mib``.
    """
    if not runs_here(workflow.resource_settings.nodes):
        return
    limits = machine_limits()
    cores = workflow.resource_settings.cores or 1
    allowed = cores_for_jobs(limits)
    if allowed < cores and not _typed_cores():
        print(f"{allowed} of {usable_cores()} cores: a quota of this control group", file=sys.stderr)
        workflow.register_resource("_cores", allowed)
        cores = allowed
    if {"mem_mb", "mem_mib", "mem"} & set(workflow.global_resources):
        return
    memory, declared = memory_for_jobs(limits), job_memory_mb(memory_mib)
    workflow.register_resource("mem_mb", memory)
    if memory < declared:
        print(
            f"one job at a time: a job may need {declared} MB (compute.memory_mib and 1000 MB) and {memory} MB are here; "
            "lower compute.memory_mib, so that methods use less memory or are left out",
            file=sys.stderr,
        )
    elif memory // declared < cores:
        print(
            f"{memory // declared} jobs at a time: {memory} MB of memory, of which a job may need {declared} "
            "(compute.memory_mib and 1000 MB)",
            file=sys.stderr,
        )


def jobs_at_a_time(limits: MachineLimits, threads: int, memory_mib: int) -> int:
    """Return the number of jobs that run at a time on this machine, at least one.

    Args:
        limits: memory and cores of the machine.
        threads: ``compute.threads``.
        memory_mib: ``compute.memory_mib``.
    """
    by_memory = memory_for_jobs(limits) // job_memory_mb(memory_mib)
    return max(1, min(cores_for_jobs(limits) // threads, by_memory))


def runs_here(nodes: int | None) -> bool:
    """Return whether jobs run on this machine; every other executor needs a number of nodes."""
    return nodes is None or _executor() in (None, "local")


def _typed_cores() -> bool:
    """Return whether this command line, not a profile, states a number of cores."""
    import snakemake.cli

    typed, _ = snakemake.cli.get_argument_parser().parse_known_args(_arguments())
    asked_for_all = re.search(r"(?:^| )(?:-c|-j|--cores|--jobs)[ =]?all\b", " ".join(_arguments()))
    return (typed.cores or typed.jobs) is not None and not asked_for_all


def _executor() -> str | None:
    """Return the executor that this command line or one of its profiles names."""
    import snakemake.cli

    with contextlib.redirect_stderr(io.StringIO()):  # It would name the profiles again.
        executor: str | None = snakemake.cli.parse_args(_arguments())[1].executor
    return executor


def _arguments() -> list[str]:
    """Return the command line of Snakemake; nothing where a program uses its Python interface."""
    return sys.argv[1:] if Path(sys.argv[0]).stem in ("snakemake", "__main__") else []

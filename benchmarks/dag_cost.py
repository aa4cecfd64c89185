"""CPU time and memory of Snakemake's main process, apart from the work of its jobs."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from proponent.config.benchmark import load_benchmark
from proponent.plan.run_plan import Plan

ROOT = Path(__file__).parents[1]


def run_trivial_jobs(seconds: float, *options: str) -> None:
    """Print the CPU time of the main process per job, for the default benchmark with jobs that only sleep.

    Args:
        seconds: duration of each job.
        options: further arguments of snakemake.
    """
    with tempfile.TemporaryDirectory() as folder:
        checkout = _make_checkout(Path(folder) / "checkout")
        (checkout.root / "params.yaml").write_text((ROOT / "params.yaml").read_text())
        rule, step = "workflow/rules/step.smk", '"proponent {params.step} {input.key:q} > {log:q} 2>&1"'
        checkout.edit(rule, step, f'"sleep {seconds}; touch {{output:q}}"')
        cpu = _measure("snakemake", checkout, *options)
        (events,) = (checkout.root / ".snakemake/proponent").glob("*.jsonl")
        jobs = json.loads(events.read_text().partition("\n")[0])["total_jobs"]
        print(f"{jobs} jobs of {seconds} s: {cpu / jobs:.3f} CPU seconds of the main process per job")


def dry_run(jobs: int) -> None:
    """Print the cost of a dry run with a given number of jobs: one shard per retraining."""
    with tempfile.TemporaryDirectory() as folder:
        checkout = _make_checkout(Path(folder) / "checkout")
        checkout.edit(
            "configs/settings/toy.yaml", "count: 20, seeds: 2", f"count: {math.ceil(jobs / 2)}, seeds: 2"
        )
        checkout.edit("params.yaml", "models_per_job: 20", "models_per_job: 1")
        _measure("snakemake -n", checkout, "-n", "--quiet", "all")
        job = ("--mode", "remote", "--target-jobs", "data:setting=toy", "--allowed-rules", "data", "--nolock")
        _measure("a job's own Snakemake, before its work", checkout, "-n", "--quiet", "all", *job)
        started = time.monotonic()
        Plan(load_benchmark(checkout.root, {}))
        print(f"planner alone: {time.monotonic() - started:.1f} s")


def _make_checkout(root: Path) -> Any:
    sys.path.insert(0, str(ROOT / "tests"))
    from workflow.checkout import make_checkout

    return make_checkout(root)


def _measure(what: str, checkout: Any, *arguments: str) -> float:
    """Run Snakemake in a checkout, print its cost, and return the CPU seconds of its main process."""
    started = time.monotonic()
    with (checkout.root / "output.txt").open("w") as output:
        run = subprocess.Popen(  # noqa: S603
            checkout.command(*arguments),
            cwd=checkout.root,
            env=checkout.environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        os.waitid(os.P_PID, run.pid, os.WEXITED | os.WNOWAIT)
        # The statistics of a process remain readable until it is reaped; those of its jobs are not included.
        fields = Path(f"/proc/{run.pid}/stat").read_text().rpartition(")")[2].split()
        cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        _, status, used = os.wait4(run.pid, 0)
    seconds, memory = time.monotonic() - started, used.ru_maxrss / 1024
    children = used.ru_utime + used.ru_stime - cpu
    print(
        f"{what}: {seconds:.0f} s, {cpu:.1f} s CPU, {children:.1f} s of child processes, {memory:.0f} MiB (status {status})"
    )
    if status:
        print((checkout.root / "output.txt").read_text()[-2000:])
    return cpu

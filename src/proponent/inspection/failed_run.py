"""End of a run with failures: tables and figures are made from the rest, and the reasons are listed."""

from __future__ import annotations

import subprocess
from typing import Any

from proponent.errors import UserError, one_line
from proponent.inspection.failures import Failures
from proponent.inspection.partial_tables import make_partial_tables
from proponent.inspection.run_events import Attempt, last_run
from proponent.plan.run_plan import Plan

_LISTED = 12
"""Number of failures that are listed; ``proponent status`` has the others."""


def finish_failed_run(plan: Plan, workflow: Any, logger: Any) -> None:
    """Make tables and figures from the rest after a run of Snakemake in which jobs failed.

    Without effect if no job failed, because the user interrupted the run.

    Args:
        plan: plan of the run.
        workflow: Snakemake's workflow, after its scheduler has ended.
        logger: Snakemake's logger.
    """
    failed_jobs = _failed_jobs(plan, workflow)
    if not failed_jobs:
        return
    try:
        asked = {str(path) for job in workflow.dag.jobs for path in job.output}
        failures, tables = make_partial_tables(plan, asked, failed_jobs)
    except (UserError, OSError) as error:
        logger.error(f"tables and figures cannot be made from the rest: {one_line(error)}")
        return
    for line in failure_lines(failures):
        logger.error(line)
    for path, why in tables.problems.items():
        if path not in failures.own:
            logger.error(f"{path}: cannot be made from the rest: {why}")
    if any(job.rule.name == "publish" for job in workflow.dag.jobs):
        logger.error(_publish(plan, narrowed=bool(workflow.config)))
    if tables.made:
        logger.error(
            "Tables and figures were made from the rest, with the reasons in their notes.",
            extra={"made": tables.made},
        )


def _failed_jobs(plan: Plan, workflow: Any) -> list[Attempt]:
    """Return the jobs that failed in the last of their attempts."""
    messages = {attempt.outputs: attempt.message for attempt in last_run(plan.graph.root).attempts}
    found = []
    for entry in workflow.scheduler.failed:
        for job in entry if entry.is_group() else [entry]:
            outputs, log = tuple(map(str, job.output)), next(map(str, job.log), None)
            message = messages.get(outputs, "")
            found.append(Attempt(job.rule.name, outputs, log, state="failed", message=message))
    return found


def _publish(plan: Plan, narrowed: bool) -> str:
    """Publish what the leaderboard shows, as rule ``publish`` does after a complete run; return what was done."""
    command = ["proponent", "publish", *(plan.metrics_files() if narrowed else [])]
    done = subprocess.run(command, cwd=plan.graph.root, capture_output=True, text=True, check=False)  # noqa: S603
    return f"MLflow: {(done.stdout + done.stderr).strip()}"


def failure_lines(failures: Failures) -> list[str]:
    """Return the reasons of failed jobs and what can be done, one line each."""
    listed = list(failures.own.items())
    lines = [f"{path}: {failure.text}" for path, failure in listed[:_LISTED]]
    if len(listed) > _LISTED:
        lines.append(f"and {len(listed) - _LISTED} more; `proponent status` lists them")
    return [*lines, *failures.ways_out()]

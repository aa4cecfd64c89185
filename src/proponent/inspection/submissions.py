"""Execution profiles of Snakemake: partitions of jobs, jobs at a time, and jobs that share a submission."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proponent.config.load import nearest
from proponent.config.yaml_reader import read_yaml
from proponent.errors import UserError
from proponent.inspection.forecast import Resources, submissions

LOCAL = "this machine"
"""Place of the rules that are declared local, and of all rules without a cluster."""


@dataclass
class Profile:
    """The options of a profile that decide where and when jobs run."""

    name: str
    executor: str
    jobs: int | None
    """Largest number of queued and running jobs; None for the number of cores."""
    rate: str | None
    """Largest rate of submissions, such as ``10/10s``."""
    seconds_per_submission: float = 0.0
    local_cores: int = 1
    """Cores for the jobs that run on the machine of the controller."""
    together: dict[str, int] = field(default_factory=dict)
    """Number of jobs that share a submission, by group."""
    partitions: Sequence[Any] = ()
    """Partitions among which the Slurm plugin chooses."""

    def place_of(self, rule: str, resources: Resources) -> str:
        """Return the partition to which the jobs of a rule are submitted.

        Raises:
            UserError: the jobs fit into no partition.
        """
        if resources.local or self.executor == "local":
            return LOCAL
        if not self.partitions:
            return "the cluster's default"
        job = _Request(resources.threads, resources._asdict())
        scores = {partition.name: partition.score_job_fit(job) for partition in self.partitions}
        fits = {name: score for name, score in scores.items() if score is not None}
        if not fits:
            asked = f"{resources.threads} threads, {resources.mem_mb} MB, {resources.runtime} min, {resources.gpu} GPUs"
            raise UserError(
                f"profiles/{self.name}/partitions.yaml: rule {rule} fits into no partition ({asked}); raise a limit there "
                "or lower 'compute' in params.yaml"
            )
        return max(fits, key=lambda name: fits[name])

    def submissions(self, rules: Iterable[tuple[int, Resources]]) -> dict[str | None, int]:
        """Return the number of submissions by group; jobs that run locally are not submitted.

        Args:
            rules: number of jobs and resources of each job, per rule.
        """
        jobs: Counter[str | None] = Counter()
        for count, asked in rules:
            if not asked.local and self.executor != "local":
                jobs[asked.group] += count
        return {group: submissions(count, self.together.get(group or "", 1)) for group, count in jobs.items()}

    def submission_seconds(self, count: int) -> float:
        """Return the shortest time in which the rate allows ``count`` submissions."""
        return count * self.seconds_per_submission


@dataclass
class _Request:
    """The attributes of a job that the Slurm plugin reads to choose a partition."""

    threads: int
    resources: dict[str, Any]


def read_profile(root: Path, name: str) -> Profile:
    """Read ``profiles/NAME/config.yaml`` and the file of partitions that it names.

    Raises:
        UserError: the profile does not exist, or its rate is malformed.
    """
    path = root / "profiles" / name / "config.yaml"
    if not path.exists():
        known = sorted(found.parent.name for found in (root / "profiles").glob("*/config.yaml"))
        raise UserError(f"no profile '{name}' in profiles/{nearest(name, known)}")
    content = read_yaml(path)
    partitions: Sequence[Any] = ()
    if content.get("slurm-partition-config"):
        from snakemake_executor_plugin_slurm.partitions import read_partition_file

        partitions = read_partition_file(root / content["slurm-partition-config"])
    pairs = [entry.split("=") for entry in content.get("group-components", ())]
    jobs, rate = content.get("jobs"), content.get("max-jobs-per-timespan")
    return Profile(
        name,
        content.get("executor", "local"),
        int(jobs) if jobs else None,
        str(rate) if rate else None,
        _seconds_per_submission(path.relative_to(root), str(rate)) if rate else 0.0,
        int(content.get("local-cores", 1)),
        {group: int(count) for group, count in pairs},
        partitions,
    )


def _seconds_per_submission(path: Path, rate: str) -> float:
    """Return the seconds per submission of a rate, which Snakemake itself parses, so that the forecast follows the run."""
    from snakemake.exceptions import WorkflowError
    from snakemake.settings.types import MaxJobsPerTimespan

    try:
        parsed = MaxJobsPerTimespan.parse_choice(rate)
    except WorkflowError:
        raise UserError(
            f"{path}: max-jobs-per-timespan: '{rate}' is not a rate; write COUNT/TIMESPAN, for example 10/10s"
        ) from None
    return float(parsed.timespan) / int(parsed.max_jobs)

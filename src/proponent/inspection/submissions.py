"""An execution profile of Snakemake: where it sends a job, how many at a time, and how many tasks share one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proponent.config.load import nearest, read_yaml
from proponent.errors import UserError
from proponent.inspection.forecast import Resources, submissions

LOCAL = "this machine"
"""Where rules run that are declared local, and all of them without a cluster."""


@dataclass
class Profile:
    """The part of a profile that decides where and when jobs run."""

    name: str
    executor: str
    jobs: int | None
    """Queued and running at a time; None: as many as there are cores."""
    rate: str | None
    """Submissions, such as ``10/10s``."""
    local_cores: int = 1
    """For what runs where snakemake does."""
    together: dict[str, int] = field(default_factory=dict)
    """How many jobs of a group share a submission, by group."""
    partitions: Sequence[Any] = ()
    """The Slurm plugin's, which chooses among them."""

    def place_of(self, rule: str, resources: Resources) -> str:
        """Return the partition that a rule's jobs go to.

        Raises:
            UserError: no partition takes them.
        """
        if resources.local or self.executor == "local":
            return LOCAL
        if not self.partitions:
            return "the cluster's default"
        job = _Asking(resources.threads, resources._asdict())
        scores = {partition.name: partition.score_job_fit(job) for partition in self.partitions}
        fits = {name: score for name, score in scores.items() if score is not None}
        if not fits:
            asked = f"{resources.threads} threads, {resources.mem_mb} MB, {resources.runtime} min, {resources.gpu} GPUs"
            raise UserError(
                f"profiles/{self.name}/partitions.yaml: no partition takes rule {rule} ({asked}); raise a limit there "
                "or lower 'compute' in params.yaml"
            )
        return max(fits, key=lambda name: fits[name])

    def submissions(self, rules: Iterable[tuple[int, Resources]]) -> dict[str | None, int]:
        """Return in how many pieces jobs reach the scheduler, by group; those that run locally reach it in none.

        Args:
            rules: number of jobs, and what each asks for.
        """
        jobs: Counter[str | None] = Counter()
        for count, asked in rules:
            if not asked.local and self.executor != "local":
                jobs[asked.group] += count
        return {group: submissions(count, self.together.get(group or "", 1)) for group, count in jobs.items()}

    def submission_seconds(self, count: int) -> float:
        """Return how long the rate makes so many submissions last."""
        if self.rate is None:
            return 0.0
        number, _, unit = self.rate.partition("/")
        seconds = {"s": 1, "m": 60, "h": 3600}[unit[-1]] * int(unit[:-1] or 1)
        return count / int(number) * seconds


@dataclass
class _Asking:
    """A job as the Slurm plugin looks at one when it chooses a partition."""

    threads: int
    resources: dict[str, Any]


def read_profile(root: Path, name: str) -> Profile:
    """Read ``profiles/NAME/config.yaml`` and the partitions that it names.

    Raises:
        UserError: there is no such profile.
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
        int(content.get("local-cores", 1)),
        {group: int(count) for group, count in pairs},
        partitions,
    )

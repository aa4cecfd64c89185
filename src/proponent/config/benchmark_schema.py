"""Dataclasses behind ``params.yaml`` and the YAML files of methods and metrics; see ``setting_schema`` for settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from proponent.config.derived_designs import BudgetConfig, DerivedDesignConfig, refuse_above_budget
from proponent.config.ranges import check_positive


class Combine(Enum):
    """Combination of the scores of several members: the mean, or the mean after giving each member the same weight."""

    mean = "mean"
    normalised = "normalised"


@dataclass
class TuneConfig:
    """Hyper-parameters to compare on tune queries and masks: the first ``budget`` points of the grid's product."""

    budget: int = 8
    grid: dict[str, list[Any]] = field(default_factory=dict)
    members: int | None = None
    """Number of members on which candidates are compared, from the first one; None for all that the method uses."""

    def __post_init__(self) -> None:
        check_positive(
            "tune", budget=self.budget, **({} if self.members is None else {"members": self.members})
        )
        empty = [name for name, values in self.grid.items() if not values]
        if empty or not self.grid:
            raise ValueError(
                f"tune: grid needs at least one value for {', '.join(empty) or 'one hyper-parameter'}"
            )


@dataclass
class MethodConfig:
    """A method: a function, named by its family, and one set of hyper-parameters."""

    family: str
    params: dict[str, Any] = field(default_factory=dict)
    members: int = 1
    combine: Combine = Combine.mean
    checkpoints: list[float] = field(default_factory=list)
    """Checkpoints, as fractions of training, whose scores are averaged like those of members; empty if the hyper-parameter
    ``checkpoint`` decides."""
    tune: TuneConfig | None = None
    scores: list[str] = field(default_factory=list)
    """Names of the methods from whose scores this one starts."""
    needs: list[str] = field(default_factory=list)
    """Artefacts that the user's own rule reads; for the family ``external`` only."""
    sources: list[str] = field(default_factory=list)
    """Files of the user's own rule, or files that a method of one's own reads; their content is part of the key."""
    description: str = ""

    def __post_init__(self) -> None:
        check_positive("method", members=self.members)
        if not all(0 < checkpoint <= 1 for checkpoint in self.checkpoints):
            raise ValueError(f"method: checkpoints must be in (0, 1], not {self.checkpoints}")
        if self.tune is not None and (self.tune.members or 0) > self.members:
            raise ValueError(f"tune: members must be at most {self.members}, not {self.tune.members}")


@dataclass
class MetricConfig:
    """One metric of the leaderboard."""

    metric: str
    """Module of :mod:`proponent.metrics`, or ``package.module:function`` in the checkout."""
    params: dict[str, Any] = field(default_factory=dict)
    design: DerivedDesignConfig | None = None
    """Retrainings that the metric asks for; None for a metric that uses the designs of the setting, or none."""
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    meaning: dict[str, str] = field(default_factory=dict)
    """What a good value means, by name in the leaderboard: one sentence each, for readers. It decides no number."""

    def __post_init__(self) -> None:
        if self.design is not None:
            refuse_above_budget(self.design, self.budget)


@dataclass
class ComputeConfig:
    """Division of the work into jobs and their resources; those that may change the bytes of a result are in the keys."""

    device: str = "cpu"
    """``cpu``; ``cuda``: a job without a GPU fails; ``auto``: the GPU if the job has one, otherwise the CPU."""
    threads: int = 1
    models_per_job: int = 50
    """Retrainings per shard."""
    members_per_job: int = 10
    """Members per shard of the ensemble and of features."""
    lockstep: int = 50
    """Models trained at a time inside a shard."""
    memory_mib: int = 4000
    """Largest working set of a job that computes features or scores."""

    def __post_init__(self) -> None:
        sizes = {
            "threads": self.threads,
            "models_per_job": self.models_per_job,
            "members_per_job": self.members_per_job,
        }
        check_positive("compute", **sizes, lockstep=self.lockstep, memory_mib=self.memory_mib)
        if self.device not in ("cpu", "cuda", "auto"):
            raise ValueError(f"compute: device must be cpu, cuda or auto, not {self.device}")


@dataclass
class BenchmarkConfig:
    """``params.yaml``: the settings, methods and metrics to run, and overrides of their files."""

    settings: list[str]
    methods: list[str]
    metrics: list[str] = field(default_factory=lambda: ["lds", "loo", "mislabel"])
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    overrides: dict[str, Any] = field(default_factory=dict)
    """``{settings: {name: {…}}, methods: {name: {…}}, designs: {…}, metrics: {…}}``, merged over the YAML files."""
    selections: dict[str, list[str]] = field(default_factory=dict)
    """Lists of settings by name; ``--config selection=NAME`` takes the place of ``settings``."""

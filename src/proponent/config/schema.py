"""The dataclasses behind every YAML file; a field's default is the benchmark's default.

A value that is not given here or in a YAML does not exist: the resolved dataclasses are what content keys are made of.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any


def _positive(where: str, **values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not value > 0:
            raise ValueError(f"{where}: {name} must be above 0, not {value}")


def _not_negative(where: str, **values: float) -> None:
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"{where}: {name} must not be negative, not {value}")


def _within(where: str, low: float, high: float, **values: float) -> None:
    for name, value in values.items():
        if not low <= value < high:
            raise ValueError(f"{where}: {name} must be in [{low}, {high}), not {value}")


class Optimizer(Enum):
    """Optimisers that the lockstep trainer knows."""

    sgd = "sgd"
    adam = "adam"
    adamw = "adamw"


class Schedule(Enum):
    """How the learning rate moves after the warm-up."""

    constant = "constant"
    linear = "linear"
    cosine = "cosine"
    step = "step"


class DesignKind(Enum):
    """How the subsets and seeds of ground-truth retrainings are drawn."""

    subsets = "subsets"
    subsets_fixed_seed = "subsets_fixed_seed"
    loo = "loo"
    fit = "fit"
    permutations = "permutations"
    complements = "complements"


class Inputs(Enum):
    """What a row of x is."""

    numbers = "numbers"
    tokens = "tokens"
    """Token numbers (length,), 0 = padding: a text."""


class Combine(Enum):
    """How the scores of several members become one."""

    mean = "mean"
    normalised = "normalised"


@dataclass
class FactoryConfig:
    """An importable Python callable and its keyword arguments."""

    factory: str
    args: dict[str, Any] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    """Files that the factory reads; their bytes are part of the content key."""


@dataclass
class StageConfig:
    """A stage of training, on examples of its own."""

    examples: int
    """How many, the next ones of the training set."""
    epochs: int
    lr: float | None = None
    """None: the recipe's."""

    def __post_init__(self) -> None:
        _positive("stage", examples=self.examples, epochs=self.epochs, lr=self.lr)


@dataclass
class RecipeConfig:
    """How a model is trained."""

    optimizer: Optimizer = Optimizer.sgd
    lr: float = 0.01
    momentum: float = 0.0
    nesterov: bool = False
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    eps: float = 1e-8
    weight_decay: float = 0.0
    """L2 penalty added to the gradient (SGD, Adam) or decoupled (AdamW), as torch.optim does."""
    schedule: Schedule = Schedule.constant
    warmup_steps: int = 0
    step_size: int = 0
    """Schedule ``step``: epochs between two decays."""
    gamma: float = 0.1
    """Schedule ``step``: factor of a decay."""
    batch_size: int = 64
    epochs: int | None = None
    steps: int | None = None
    stages: list[StageConfig] = field(default_factory=list)
    """Length of training: exactly one of ``epochs``, ``steps`` and ``stages``, which share out the training set in order."""

    def __post_init__(self) -> None:
        if (self.epochs is not None) + (self.steps is not None) + bool(self.stages) != 1:
            raise ValueError("recipe: give exactly one of 'epochs', 'steps' and 'stages'")
        if self.stages and (self.schedule is not Schedule.constant or self.warmup_steps):
            raise ValueError(
                "recipe: stages have constant learning rates: leave out 'schedule' and 'warmup_steps'"
            )
        _positive(
            "recipe",
            lr=self.lr,
            batch_size=self.batch_size,
            epochs=self.epochs,
            steps=self.steps,
            eps=self.eps,
        )
        _within("recipe", 0, 1, momentum=self.momentum, gamma=self.gamma)
        _not_negative("recipe", weight_decay=self.weight_decay, warmup_steps=self.warmup_steps)
        if self.schedule is Schedule.step:
            _positive("recipe (schedule: step)", step_size=self.step_size)
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"recipe: betas must be two numbers in [0, 1), not {self.betas}")
        if self.nesterov and not self.momentum:
            raise ValueError("recipe: nesterov needs a momentum above 0")


@dataclass
class EnsembleConfig:
    """Independently seeded models trained on all examples."""

    members: int = 10
    checkpoints: int = 8
    """Checkpoints saved along training, log-spaced (each about twice as late as the one before), beside the final model."""

    def __post_init__(self) -> None:
        _positive("ensemble", members=self.members)
        _not_negative("ensemble", checkpoints=self.checkpoints)


@dataclass
class DesignConfig:
    """One design of ground-truth retrainings."""

    kind: DesignKind = DesignKind.subsets
    count: int = 100
    seeds: int = 2
    fraction: float = 0.5
    """Share of the training set that a subset keeps. The ``loo`` design leaves out one example each instead; a prefix of
    the ``permutations`` design is longer by this share than the one before. Complements are halves."""

    def __post_init__(self) -> None:
        _positive("designs", count=self.count, seeds=self.seeds)
        if not 0 < self.fraction < 1:
            raise ValueError(f"designs: fraction must lie between 0 and 1, not {self.fraction}")
        if self.kind is DesignKind.permutations and self.fraction > 0.5:
            raise ValueError(f"designs: fraction of permutations must be at most 0.5, not {self.fraction}")
        if self.kind is DesignKind.complements and self.fraction != 0.5:
            raise ValueError(f"designs: fraction of complements must be 0.5, not {self.fraction}")


def n_prefixes(design: DesignConfig) -> int:
    """Return how many prefixes of an order the ``permutations`` design retrains on, the last of which keeps everything."""
    return round(1 / design.fraction)


def n_rows(design: DesignConfig) -> int:
    """Return the number of masks.

    ``count``; one more for ``loo``, whose first row keeps everything; all prefixes of ``count`` orders for ``permutations``;
    both halves of ``count`` pairs for ``complements``.
    """
    if design.kind is DesignKind.permutations:
        return design.count * n_prefixes(design)
    if design.kind is DesignKind.complements:
        return design.count * 2
    return design.count + (design.kind is DesignKind.loo)


@dataclass
class QueriesConfig:
    """How many of the query rows choose hyper-parameters (first) and how many are reported on (next)."""

    tune: int = 100
    test: int = 100

    def __post_init__(self) -> None:
        _positive("queries", tune=self.tune, test=self.test)


@dataclass
class LabelNoiseConfig:
    """Labels of ``fraction`` of the training examples moved uniformly to another class."""

    fraction: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1:
            raise ValueError(f"label_noise: fraction must lie between 0 and 1, not {self.fraction}")


@dataclass
class SettingConfig:
    """One problem on which methods are compared."""

    dataset: FactoryConfig
    model: FactoryConfig
    recipe: RecipeConfig
    task: str = "classification"
    inputs: Inputs = Inputs.numbers
    ensemble: EnsembleConfig = field(default_factory=EnsembleConfig)
    designs: dict[str, DesignConfig] = field(default_factory=dict)
    queries: QueriesConfig = field(default_factory=QueriesConfig)
    label_noise: LabelNoiseConfig | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    """Methods that are not run here, and why."""
    seed: int = 0
    description: str = ""

    def __post_init__(self) -> None:
        tuning = self.designs.get("tune")
        if tuning is not None and tuning.kind is not DesignKind.subsets:
            raise ValueError(f"designs: tune must be of kind subsets, not {tuning.kind.value}")


@dataclass
class TuneConfig:
    """Hyper-parameters to choose on tune queries and masks: at most ``budget`` points of the grid's product, in order."""

    budget: int = 8
    grid: dict[str, list[Any]] = field(default_factory=dict)
    members: int | None = None
    """Members on which candidates are compared: the first so many; None for all that the method uses."""

    def __post_init__(self) -> None:
        _positive("tune", budget=self.budget, **({} if self.members is None else {"members": self.members}))
        empty = [name for name, values in self.grid.items() if not values]
        if empty or not self.grid:
            raise ValueError(f"tune: grid needs at least one value for {empty or 'one hyper-parameter'}")


@dataclass
class MethodConfig:
    """A family of code plus one set of hyper-parameters."""

    family: str
    params: dict[str, Any] = field(default_factory=dict)
    members: int = 1
    combine: Combine = Combine.mean
    checkpoints: list[float] = field(default_factory=list)
    """Checkpoints whose scores are averaged as those of members are; empty: the one that is a hyper-parameter."""
    tune: TuneConfig | None = None
    scores: list[str] = field(default_factory=list)
    """For a method that starts from other methods' scores: their names."""
    needs: list[str] = field(default_factory=list)
    """Only for a rule that runs a command of its own: which artefacts it reads."""
    sources: list[str] = field(default_factory=list)
    """Only for a rule that runs a command of its own: its files, which become part of the content key."""
    description: str = ""

    def __post_init__(self) -> None:
        _positive("method", members=self.members)
        if not all(0 < checkpoint <= 1 for checkpoint in self.checkpoints):
            raise ValueError(f"method: checkpoints must be in (0, 1], not {self.checkpoints}")
        if self.tune is not None and (self.tune.members or 0) > self.members:
            raise ValueError(f"tune: members is {self.tune.members}, and the method has {self.members}")


@dataclass
class MetricConfig:
    """One metric of the leaderboard."""

    metric: str
    params: dict[str, Any] = field(default_factory=dict)


@dataclass
class ComputeConfig:
    """How the work is cut and run; what may change a byte (threads, lockstep size, device) is part of the keys."""

    device: str = "cpu"
    """``cpu``; ``cuda``: a job without a GPU fails; ``auto``: a GPU where the job has one, else the CPU."""
    threads: int = 1
    models_per_job: int = 50
    """Retrainings in one shard."""
    members_per_job: int = 10
    lockstep: int = 50
    """Models trained at a time inside a shard."""
    memory_mib: int = 4000
    """Largest working set that a features or attribution job may plan for."""

    def __post_init__(self) -> None:
        sizes = {
            "threads": self.threads,
            "models_per_job": self.models_per_job,
            "members_per_job": self.members_per_job,
        }
        _positive("compute", **sizes, lockstep=self.lockstep, memory_mib=self.memory_mib)
        if self.device not in ("cpu", "cuda", "auto"):
            raise ValueError(f"compute: device must be cpu, cuda or auto, not {self.device}")


@dataclass
class BenchmarkConfig:
    """``params.yaml``: what to run, and overrides."""

    settings: list[str]
    methods: list[str]
    metrics: list[str] = field(default_factory=lambda: ["lds", "loo", "mislabel"])
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    overrides: dict[str, Any] = field(default_factory=dict)
    """``{settings: {name: {…}}, methods: {name: {…}}, designs: {…}, metrics: {…}}`` merged over the YAML of that name."""

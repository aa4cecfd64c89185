"""Specifications of steps: one frozen dataclass per step, and one for the artefacts that it reads.

The plan builds a specification and its inputs, the key file carries them as JSON, and the job parses them into the same
dataclasses. Every field of a specification is part of the artefact's content key; inputs enter through their own keys.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from typing import Any, ClassVar, Literal, TypeVar

from proponent.config.benchmark_schema import Combine
from proponent.config.schema import (
    DesignConfig,
    DesignKind,
    FactoryConfig,
    Inputs,
    LabelNoiseConfig,
    QueriesConfig,
    RecipeConfig,
)

FeatureKind = Literal["gradients", "outputs", "representations"]
T = TypeVar("T")


@dataclass(frozen=True)
class NoInputs:
    """Inputs of a step that reads no artefact."""


@dataclass(frozen=True)
class DataInputs:
    """Inputs of a step that reads the dataset alone."""

    data: str
    """Training tensors; the query tensors and the label noise are parts of the same artefact."""


@dataclass(frozen=True)
class GroundTruthInputs(DataInputs):
    """Inputs of the merge of a design's shards."""

    shards: tuple[str, ...]


@dataclass(frozen=True)
class FeaturizeInputs(DataInputs):
    """Inputs of a shard of features."""

    ensemble: str
    """Shard of the ensemble."""


@dataclass(frozen=True)
class AttributeInputs(DataInputs):
    """Inputs of a method."""

    features: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Shards of features per kind (``gradients``, ``outputs``, ``representations``), in the order of members."""
    ensemble: tuple[str, ...] = ()
    """Shards of the ensemble, in the order of members."""
    ground_truth: dict[str, str] = field(default_factory=dict)
    """Retrainings that the method learns from or is tuned on, per design."""
    scores: dict[str, str] = field(default_factory=dict)
    """Scores of other methods, per method."""


@dataclass(frozen=True)
class EvaluateInputs(DataInputs):
    """Inputs of an evaluation."""

    scores: str
    ground_truth: dict[str, str]
    """Retrainings per design."""


@dataclass(frozen=True)
class SummaryInputs:
    """Inputs of a setting's summary."""

    metrics: dict[str, str]
    """Metrics file per method."""


@dataclass(frozen=True)
class FiguresInputs(DataInputs):
    """Inputs of a setting's figures."""

    ensemble: tuple[str, ...]
    summary: str
    """Leaderboard of the setting."""
    scores: dict[str, str]
    """Scores per method."""


@dataclass(frozen=True)
class CollectInputs:
    """Inputs of the leaderboard."""

    summaries: dict[str, str]
    """Summary per setting."""


@dataclass(frozen=True)
class OverviewInputs:
    """Inputs of the figure of all settings."""

    summaries: dict[str, str]
    """Summary per setting."""


@dataclass(frozen=True)
class Engine:
    """Where and how widely a step computes; both may change a byte, so they are part of the key."""

    threads: int = 1
    """Threads of torch and BLAS, independent of how many cores happen to be free."""
    device: str = "cpu"
    """``cpu``, ``cuda`` or ``auto``, as configured."""


@dataclass(frozen=True, kw_only=True)
class StepSpec:
    """Fields that every specification has."""

    step: ClassVar[str]
    """Module of :mod:`proponent.steps`, rule and subcommand."""
    inputs_type: ClassVar[type[Any]]
    engine: Engine = Engine()


@dataclass(frozen=True, kw_only=True)
class SettingSpec(StepSpec):
    """Fields of a step that belongs to one setting."""

    setting: str


@dataclass(frozen=True, kw_only=True)
class DataSpec(SettingSpec):
    """The dataset of a setting as tensors."""

    step: ClassVar[str] = "data"
    inputs_type: ClassVar[type[Any]] = NoInputs
    task: str
    dataset: FactoryConfig
    inputs: Inputs
    label_noise: LabelNoiseConfig | None
    queries: QueriesConfig
    stages: tuple[int, ...]
    """Examples per stage of training; empty for a training in one stage."""
    seed: int


@dataclass(frozen=True, kw_only=True)
class TrainingSpec(SettingSpec):
    """Fields of a step that trains models."""

    task: str
    model: FactoryConfig
    recipe: RecipeConfig
    seed: int
    lockstep: int
    """Models trained at a time."""


@dataclass(frozen=True, kw_only=True)
class TrainSpec(TrainingSpec):
    """A shard of ensemble members."""

    step: ClassVar[str] = "train"
    inputs_type: ClassVar[type[Any]] = DataInputs
    members: tuple[int, ...]
    checkpoints: int
    """Checkpoints to save along training, in addition to the final model."""


@dataclass(frozen=True)
class Draw:
    """How the masks and seeds of a design are drawn, without their number: a shard does not depend on it."""

    name: str
    kind: DesignKind
    seeds: int
    fraction: float

    def config(self, count: int) -> DesignConfig:
        """Return the design with ``count`` masks."""
        return DesignConfig(kind=self.kind, count=count, seeds=self.seeds, fraction=self.fraction)


@dataclass(frozen=True, kw_only=True)
class RetrainSpec(TrainingSpec):
    """A shard of a design's retrainings."""

    step: ClassVar[str] = "retrain"
    inputs_type: ClassVar[type[Any]] = DataInputs
    design: Draw
    runs: tuple[int, int]
    """First retraining of the shard, and the first after it."""


@dataclass(frozen=True, kw_only=True)
class GroundTruthSpec(SettingSpec):
    """The merged shards of a design."""

    step: ClassVar[str] = "ground_truth"
    inputs_type: ClassVar[type[Any]] = GroundTruthInputs
    design: Draw
    count: int
    """Number of masks that the design was asked for."""


@dataclass(frozen=True, kw_only=True)
class FeaturizeSpec(SettingSpec):
    """A shard of features of one kind."""

    step: ClassVar[str] = "featurize"
    inputs_type: ClassVar[type[Any]] = FeaturizeInputs
    task: str
    kind: FeatureKind
    members: tuple[int, ...]
    model: FactoryConfig
    momentum: float
    memory_mib: int


@dataclass(frozen=True)
class NetworkSpec:
    """The model of a method that needs curvature or passes through the network."""

    model: FactoryConfig
    weight_decay: float
    momentum: float


@dataclass(frozen=True)
class ReplaySpec:
    """The training of a method that walks through it again."""

    model: FactoryConfig
    recipe: RecipeConfig
    seed: int


@dataclass(frozen=True, kw_only=True)
class MethodSpec(SettingSpec):
    """Fields of a step that makes the scores of a method."""

    method: str
    family: str
    needs: tuple[str, ...]
    members: int
    params: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class AttributeSpec(MethodSpec):
    """A method on a setting: its function, its candidates of hyper-parameters and its members."""

    step: ClassVar[str] = "attribute"
    inputs_type: ClassVar[type[Any]] = AttributeInputs
    task: str
    queries: QueriesConfig
    module: str
    function: str
    arrays: str
    """Library of the arrays that the method computes with: ``torch`` or ``numpy``."""
    finish_needs: tuple[str, ...]
    """Needs of the method's function ``finish``; empty without one."""
    groups: bool
    """Whether the method predicts the effect of groups itself, because it is not a sum of scores."""
    self_influence: bool
    candidates: tuple[dict[str, Any], ...]
    """Hyper-parameters to compare; the first is used if there is only one."""
    tune_members: int
    members_per_job: int
    """Members per shard of the ensemble and of features."""
    combine: Combine
    checkpoints: tuple[float, ...]
    """Fractions of training whose scores are averaged; empty if the checkpoint is a hyper-parameter."""
    memory_mib: int
    network: NetworkSpec | None
    replay: ReplaySpec | None


@dataclass(frozen=True, kw_only=True)
class AdoptSpec(MethodSpec):
    """Scores that a rule of the user's own makes."""

    step: ClassVar[str] = "adopt"
    inputs_type: ClassVar[type[Any]] = AttributeInputs
    queries: QueriesConfig


@dataclass(frozen=True)
class MetricSpec:
    """One metric of an evaluation."""

    metric: str
    params: dict[str, Any]
    needs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class EvaluateSpec(SettingSpec):
    """The metrics of one method on one setting."""

    step: ClassVar[str] = "evaluate"
    inputs_type: ClassVar[type[Any]] = EvaluateInputs
    method: str
    queries: QueriesConfig
    metrics: dict[str, MetricSpec]
    groups: str
    """Module whose function ``group_scores`` predicts the effect of groups; empty where scores are summed."""
    shares: dict[str, float]
    """Share of each artefact's cost that the method is charged for."""
    tuned_on: tuple[str, ...]
    """Shards of the retrainings on which the method's candidates were compared."""


@dataclass(frozen=True, kw_only=True)
class SummarySpec(SettingSpec):
    """A setting's metrics by method."""

    step: ClassVar[str] = "summary"
    inputs_type: ClassVar[type[Any]] = SummaryInputs
    methods: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FiguresSpec(SettingSpec):
    """A setting's figures."""

    step: ClassVar[str] = "figures"
    inputs_type: ClassVar[type[Any]] = FiguresInputs
    methods: tuple[str, ...]
    figures: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CollectSpec(StepSpec):
    """The leaderboard of all settings."""

    step: ClassVar[str] = "collect"
    inputs_type: ClassVar[type[Any]] = CollectInputs
    methods: dict[str, tuple[str, ...]]
    """Methods per setting."""


@dataclass(frozen=True, kw_only=True)
class OverviewSpec(StepSpec):
    """The figure of all settings."""

    step: ClassVar[str] = "overview"
    inputs_type: ClassVar[type[Any]] = OverviewInputs
    settings: tuple[str, ...]


SPECS: dict[str, type[StepSpec]] = {
    kind.step: kind
    for kind in (
        *(DataSpec, TrainSpec, RetrainSpec, GroundTruthSpec, FeaturizeSpec, AttributeSpec, AdoptSpec),
        *(EvaluateSpec, SummarySpec, FiguresSpec, CollectSpec, OverviewSpec),
    )
}
"""The specification of each step."""


def paths_of(inputs: Any) -> list[str]:
    """Return the paths in an inputs dataclass, in the order of its fields and without repetition."""
    return list(
        dict.fromkeys(_strings([getattr(inputs, entry.name) for entry in dataclasses.fields(inputs)]))
    )


def _strings(values: Any) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        else:
            yield from _strings(value.values() if isinstance(value, dict) else value)


def parse(kind: type[T], value: Any) -> T:
    """Return an instance of ``kind`` from the JSON that :func:`proponent.config.keys.plain` made of one.

    A job parses what the plan has validated, so this only restores types. OmegaConf, which validates configuration, would
    add its import to each of some hundred jobs.

    Raises:
        TypeError: the content has other fields than the dataclass.
    """
    return typing.cast(T, _restore(kind, value))


def _restore(kind: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        (kind,) = (option for option in arguments if option is not type(None))
        return _restore(kind, value)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = _hints(kind)
        unknown = set(value) - set(hints)
        if unknown:
            raise TypeError(f"{kind.__name__} has no field '{min(unknown)}'")
        return kind(**{name: _restore(hints[name], entry) for name, entry in value.items()})
    if origin is tuple:
        return tuple(_restore(arguments[0], entry) for entry in value)
    if origin is list:
        return [_restore(arguments[0], entry) for entry in value]
    if origin is dict:
        return {name: _restore(arguments[1], entry) for name, entry in value.items()}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    fields = {entry.name for entry in dataclasses.fields(kind)}
    return {name: hint for name, hint in typing.get_type_hints(kind).items() if name in fields}

"""Specifications of steps: one frozen dataclass per step.

The plan builds a specification and its inputs (:mod:`proponent.config.specifications.step_inputs`), the key file carries
them as JSON, and the job restores the same dataclasses. Every field of a specification is part of the artefact's content
key; inputs enter through their own keys.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from proponent.config.benchmark_schema import Combine
from proponent.config.derived_designs import DerivedDesignConfig
from proponent.config.planted import PlantedConfig
from proponent.config.schema import (
    DesignConfig,
    DesignKind,
    FactoryConfig,
    GivenMemberConfig,
    Inputs,
    LabelNoiseConfig,
    Precision,
    PretrainedConfig,
    QueriesConfig,
    RecipeConfig,
    TaskConfig,
)
from proponent.config.specifications import step_inputs

FeatureKind = Literal["gradients", "outputs", "representations"]


@dataclass
class ModelSpec(FactoryConfig):
    """A model factory, and the factory of what is done to the inputs first."""

    preprocess: FactoryConfig | None = None


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
    inputs_type: ClassVar[type[Any]] = step_inputs.NoInputs
    task: TaskConfig
    dataset: FactoryConfig
    inputs: Inputs
    label_noise: LabelNoiseConfig | None
    planted: PlantedConfig | None
    queries: QueriesConfig
    stages: tuple[int, ...]
    """Examples per stage of training; empty for a training in one stage."""
    precision: Precision
    seed: int


@dataclass(frozen=True, kw_only=True)
class TrainingSpec(SettingSpec):
    """Fields of a step that trains models."""

    task: TaskConfig
    model: ModelSpec
    recipe: RecipeConfig
    augment: FactoryConfig | None
    seed: int
    lockstep: int
    """Models trained at a time."""


@dataclass(frozen=True, kw_only=True)
class TrainSpec(TrainingSpec):
    """A shard of ensemble members."""

    step: ClassVar[str] = "train"
    inputs_type: ClassVar[type[Any]] = step_inputs.DataInputs
    members: tuple[int, ...]
    checkpoints: int
    """Checkpoints to save along training, in addition to the final model."""


@dataclass(frozen=True, kw_only=True)
class AdoptModelsSpec(SettingSpec):
    """A shard of ensemble members that were trained elsewhere."""

    step: ClassVar[str] = "adopt_models"
    inputs_type: ClassVar[type[Any]] = step_inputs.NoInputs
    model: ModelSpec
    precision: Precision
    members: tuple[int, ...]
    files: tuple[GivenMemberConfig, ...]
    """Files of each member, in the order of ``members``."""


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

    def reaching(self, stop: int) -> DesignConfig:
        """Return the design with the masks of its first ``stop`` retrainings, so that a shard does not depend on later ones.

        The first row of leave-one-out keeps all examples, and does not count.
        """
        rows = -(-stop // self.seeds) - (self.kind is DesignKind.loo)
        return self.config(max(rows, 1))


@dataclass(frozen=True)
class TrainingJob:
    """A kind of job that trains models."""

    what: str
    """What it does, as the subject of a sentence."""
    models: int
    checkpoints: int
    """Checkpoints that are kept of each model."""


@dataclass(frozen=True, kw_only=True)
class CheckSpec(SettingSpec):
    """The check of a setting and of what methods can use of its model, before anything is trained.

    It does not depend on the configured methods.
    """

    step: ClassVar[str] = "check"
    inputs_type: ClassVar[type[Any]] = step_inputs.CheckInputs
    task: TaskConfig
    target: FactoryConfig | None
    dataset: FactoryConfig
    queries: QueriesConfig
    changed_data: tuple[str, ...]
    """Parts of the data that are changed after the factory returned them, such as ``train labels``."""
    model: ModelSpec | None
    """None for a setting whose targets a script writes."""
    precision: Precision
    recipe: RecipeConfig | None
    """Recipe of the trainings; None where this project does not train."""
    augment: FactoryConfig | None
    seed: int
    designs: tuple[Draw, ...]
    left_out_examples: dict[str, int]
    """Number of examples that each design of kind ``loo`` leaves out, one at a time."""
    jobs: tuple[TrainingJob, ...]
    """Kinds of jobs that train models, that of the ensemble first."""
    lockstep: int
    memory_mib: int
    pretrained: PretrainedConfig | None = None
    program: str = ""
    """Program that trains the models; empty if they are not trained by a command."""


@dataclass(frozen=True, kw_only=True)
class RetrainSpec(TrainingSpec):
    """A shard of a design's retrainings."""

    step: ClassVar[str] = "retrain"
    inputs_type: ClassVar[type[Any]] = step_inputs.DataInputs
    target: FactoryConfig | None
    design: Draw
    runs: tuple[int, int]
    """First retraining of the shard, and the first after it."""


@dataclass(frozen=True, kw_only=True)
class DeriveMasksSpec(SettingSpec):
    """The masks of a metric that retrains: those of one method, or those that all methods share."""

    step: ClassVar[str] = "derive_masks"
    inputs_type: ClassVar[type[Any]] = step_inputs.DeriveMasksInputs
    metric: str
    method: str
    """Method from whose scores masks are derived; empty for masks that all methods share."""
    design: DerivedDesignConfig
    inputs: Inputs
    has_classes: bool
    """Whether every example has one class."""
    sources: str
    """File with the source of each training example; empty if the groups are something else."""
    queries: QueriesConfig
    seed: int


@dataclass(frozen=True)
class SeedRule:
    """How the seeds of retrainings on derived masks are drawn."""

    metric: str
    """Name of the metric; retrainings that are not paired draw independently for each metric."""
    seeds: int
    paired: bool
    """Whether repeat r has the same seeds for every mask and metric."""
    by_weight: bool
    """Whether left-out examples stay in their batches with weight 0."""


@dataclass(frozen=True, kw_only=True)
class DerivedTrainingSpec(TrainingSpec):
    """Fields of a step that retrains for a metric."""

    inputs_type: ClassVar[type[Any]] = step_inputs.RetrainMasksInputs
    target: FactoryConfig | None
    seeds: SeedRule


@dataclass(frozen=True, kw_only=True)
class RetrainMasksSpec(DerivedTrainingSpec):
    """A shard of retrainings on derived masks."""

    step: ClassVar[str] = "retrain_masks"
    runs: tuple[int, int]
    """First retraining of the shard, and the first after it. There may be fewer masks than were planned."""


@dataclass(frozen=True, kw_only=True)
class SearchRemovalSpec(DerivedTrainingSpec):
    """A shard of searches for the smallest removal that flips a query."""

    step: ClassVar[str] = "search_removal"
    share: float
    """Largest share of the training set that is removed."""
    rounds: int
    """Rounds of the bisection after the first one, which removes the largest share."""
    orders: tuple[int, int]
    """First order of the shard, and the first after it. There may be fewer orders than were planned."""


@dataclass(frozen=True, kw_only=True)
class PatchModelsSpec(TrainingSpec):
    """Optimiser steps of trained members on the proponents of queries, or on the examples of controls."""

    step: ClassVar[str] = "patch_models"
    inputs_type: ClassVar[type[Any]] = step_inputs.PatchModelsInputs
    target: FactoryConfig | None
    metric: str
    method: str
    """Method whose strongest proponents are learned; empty for the controls."""
    design: DerivedDesignConfig
    inputs: Inputs
    has_classes: bool
    """Whether every example has one class."""
    queries: QueriesConfig
    members_per_job: int
    """Members per shard of the ensemble."""


@dataclass(frozen=True, kw_only=True)
class TrainScriptSpec(SettingSpec):
    """A shard of ensemble members, trained by a script of the user's own."""

    step: ClassVar[str] = "train_script"
    inputs_type: ClassVar[type[Any]] = step_inputs.DataInputs
    task: TaskConfig
    model: ModelSpec
    precision: Precision
    command: tuple[str, ...]
    """Arguments of the command, with placeholders."""
    seed: int
    members: tuple[int, ...]
    checkpoints: int
    """Checkpoints that the script saves along training, in addition to the final model."""


@dataclass(frozen=True, kw_only=True)
class RetrainScriptSpec(SettingSpec):
    """A shard of a design's retrainings, by a script of the user's own."""

    step: ClassVar[str] = "retrain_script"
    inputs_type: ClassVar[type[Any]] = step_inputs.DataInputs
    task: TaskConfig
    target: FactoryConfig | None
    model: ModelSpec | None
    """Model whose targets are evaluated; None if the script writes the targets."""
    precision: Precision
    command: tuple[str, ...]
    """Arguments of the command, with placeholders."""
    seed: int
    design: Draw
    runs: tuple[int, int]
    """First retraining of the shard, and the first after it."""


@dataclass(frozen=True, kw_only=True)
class GroundTruthSpec(SettingSpec):
    """The merged shards of a design."""

    step: ClassVar[str] = "ground_truth"
    inputs_type: ClassVar[type[Any]] = step_inputs.GroundTruthInputs
    design: Draw
    count: int
    """Number of masks that the design was asked for."""


@dataclass(frozen=True, kw_only=True)
class FeaturizeSpec(SettingSpec):
    """A shard of features of one kind."""

    step: ClassVar[str] = "featurize"
    inputs_type: ClassVar[type[Any]] = step_inputs.FeaturizeInputs
    task: TaskConfig
    target: FactoryConfig | None
    kind: FeatureKind
    members: tuple[int, ...]
    model: ModelSpec
    precision: Precision
    momentum: float
    memory_mib: int


@dataclass(frozen=True)
class NetworkSpec:
    """The model of a method that needs curvature or passes through the network."""

    model: ModelSpec
    precision: Precision
    weight_decay: float
    momentum: float


@dataclass(frozen=True)
class ReplaySpec:
    """The training of a method that walks through it again."""

    model: ModelSpec
    recipe: RecipeConfig
    augment: FactoryConfig | None
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
    inputs_type: ClassVar[type[Any]] = step_inputs.AttributeInputs
    task: TaskConfig
    target: FactoryConfig | None
    queries: QueriesConfig
    module: str
    function: str
    arrays: str
    """Library of the arrays that the method computes with: ``torch`` or ``numpy``."""
    uses: tuple[str, ...]
    """Needs, and operations of them that the method calls (:mod:`proponent.config.specifications.method_uses`)."""
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
    scores: tuple[str, ...]
    """Methods whose scores the method starts from, in the order of its YAML file, which the method may depend on."""
    memory_mib: int
    network: NetworkSpec | None
    replay: ReplaySpec | None


@dataclass(frozen=True, kw_only=True)
class AdoptSpec(MethodSpec):
    """Scores that a rule of the user's own makes."""

    step: ClassVar[str] = "adopt"
    inputs_type: ClassVar[type[Any]] = step_inputs.AttributeInputs
    queries: QueriesConfig


@dataclass(frozen=True, kw_only=True)
class ShuffleSpec(SettingSpec):
    """Members of the ensemble whose weights are shuffled."""

    step: ClassVar[str] = "shuffle"
    inputs_type: ClassVar[type[Any]] = step_inputs.ShuffleInputs
    members: tuple[int, ...]
    seed: int


@dataclass(frozen=True, kw_only=True)
class ShuffleLabelsSpec(SettingSpec):
    """The data of a setting with the labels of the training examples in another order."""

    step: ClassVar[str] = "shuffle_labels"
    inputs_type: ClassVar[type[Any]] = step_inputs.DataInputs
    seed: int


@dataclass(frozen=True, kw_only=True)
class RepeatSpec(AttributeSpec):
    """Scores of a method for other models, with the hyper-parameters of its own scores."""

    step: ClassVar[str] = "repeat"
    inputs_type: ClassVar[type[Any]] = step_inputs.RepeatInputs
    first: int
    """First member of the ensemble; as many as the method uses follow."""


@dataclass(frozen=True, kw_only=True)
class AgreementSpec(SettingSpec):
    """Rank correlations between the scores of all methods of one setting."""

    step: ClassVar[str] = "correlate"
    inputs_type: ClassVar[type[Any]] = step_inputs.AgreementInputs
    methods: tuple[str, ...]
    queries: QueriesConfig
    params: dict[str, Any]


@dataclass(frozen=True)
class MetricSpec:
    """One metric of an evaluation."""

    metric: str
    params: dict[str, Any]
    needs: tuple[str, ...]
    design: DerivedDesignConfig | None = None
    """Retrainings that the metric asked for; None for a metric that uses those of the setting, or none."""


@dataclass(frozen=True, kw_only=True)
class EvaluateSpec(SettingSpec):
    """The metrics of one method on one setting."""

    step: ClassVar[str] = "evaluate"
    inputs_type: ClassVar[type[Any]] = step_inputs.EvaluateInputs
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
    inputs_type: ClassVar[type[Any]] = step_inputs.SummaryInputs
    methods: tuple[str, ...]
    """Methods that have metrics."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Reason by method, for the methods that cannot run on the setting."""
    missing: dict[str, str] = field(default_factory=dict)
    """Reason by metric, for the metrics whose retrainings the setting cannot make."""
    failed: dict[str, str] = field(default_factory=dict)
    """Reason by method, for the methods that have no metrics because a job failed; empty in the plan of a run."""


@dataclass(frozen=True, kw_only=True)
class FiguresSpec(SettingSpec):
    """A setting's figures."""

    step: ClassVar[str] = "figures"
    inputs_type: ClassVar[type[Any]] = step_inputs.FiguresInputs
    methods: tuple[str, ...]
    figures: tuple[str, ...]
    failed: str = ""
    """Reason why the figures cannot be drawn; empty in the plan of a run."""


@dataclass(frozen=True, kw_only=True)
class CollectSpec(StepSpec):
    """The leaderboard of all settings."""

    step: ClassVar[str] = "collect"
    inputs_type: ClassVar[type[Any]] = step_inputs.CollectInputs
    methods: dict[str, tuple[str, ...]]
    """Methods per setting."""
    failed: dict[str, str] = field(default_factory=dict)
    """Reason by setting, for the settings without a summary; empty in the plan of a run."""


@dataclass(frozen=True, kw_only=True)
class OverviewSpec(StepSpec):
    """The figure of all settings."""

    step: ClassVar[str] = "overview"
    inputs_type: ClassVar[type[Any]] = step_inputs.OverviewInputs
    settings: tuple[str, ...]
    failed: dict[str, str] = field(default_factory=dict)
    """Reason by setting that cannot be drawn; empty in the plan of a run."""


@dataclass(frozen=True, kw_only=True)
class ExplainSpec(SettingSpec):
    """Heat maps of the strongest examples of a setting, and clusters of its training examples."""

    step: ClassVar[str] = "explain_gallery"
    inputs_type: ClassVar[type[Any]] = step_inputs.ExplainInputs
    methods: tuple[str, ...]
    """Methods whose pair scores are differentiable in closed form."""
    memory_mib: int


@dataclass(frozen=True, kw_only=True)
class ReportSectionSpec(SettingSpec):
    """What the report shows of one setting."""

    step: ClassVar[str] = "report_section"
    inputs_type: ClassVar[type[Any]] = step_inputs.ReportSectionInputs
    methods: tuple[str, ...]
    """Methods that have scores."""
    kinds: dict[str, str]
    """Kind of each configured method."""
    facts: dict[str, str]
    """What the configuration says about the setting, by name."""
    meanings: dict[str, str] = field(default_factory=dict)
    """What a good value means, by metric of the leaderboard."""
    description: str = ""
    failed: str = ""
    """Reason why the setting has no results; empty in the plan of a run."""


@dataclass(frozen=True, kw_only=True)
class ReportSpec(StepSpec):
    """The report of all settings."""

    step: ClassVar[str] = "report"
    inputs_type: ClassVar[type[Any]] = step_inputs.ReportInputs
    settings: tuple[str, ...]
    failed: dict[str, str] = field(default_factory=dict)
    """Reason by setting without a section; empty in the plan of a run."""


SPECS: dict[str, type[StepSpec]] = {
    kind.step: kind
    for kind in (
        *(DataSpec, CheckSpec, TrainSpec, AdoptModelsSpec, RetrainSpec, GroundTruthSpec, FeaturizeSpec),
        *(TrainScriptSpec, RetrainScriptSpec, DeriveMasksSpec, RetrainMasksSpec, SearchRemovalSpec),
        PatchModelsSpec,
        *(AttributeSpec, AdoptSpec, ShuffleSpec, ShuffleLabelsSpec, RepeatSpec, AgreementSpec),
        *(EvaluateSpec, SummarySpec, FiguresSpec, CollectSpec, OverviewSpec),
        *(ExplainSpec, ReportSectionSpec, ReportSpec),
    )
}
"""The specification of each step."""

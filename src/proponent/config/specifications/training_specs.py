"""Specifications of the steps that make the data, the models and their retrainings: one frozen dataclass per step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from proponent.config.design_schema import DesignConfig, DesignKind
from proponent.config.ensemble_schema import GivenMemberConfig
from proponent.config.model_schema import FactoryConfig, PretrainedConfig, TaskConfig
from proponent.config.planted import PlantedConfig
from proponent.config.recipe_schema import Precision, RecipeConfig
from proponent.config.setting_schema import Inputs, LabelNoiseConfig, QueriesConfig
from proponent.config.specifications import step_inputs
from proponent.config.specifications.step_spec import ModelSpec, SettingSpec


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
    inputs: Inputs = Inputs.numbers


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

"""Specifications of the steps that make features and scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from proponent.config.benchmark_schema import Combine
from proponent.config.model_schema import FactoryConfig, TaskConfig
from proponent.config.recipe_schema import Precision, RecipeConfig
from proponent.config.setting_schema import QueriesConfig
from proponent.config.specifications import step_inputs
from proponent.config.specifications.step_spec import ModelSpec, SettingSpec

FeatureKind = Literal["gradients", "outputs", "representations"]


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

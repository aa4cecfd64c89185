"""Specifications of the steps that train models for a metric, on masks that follow from scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from proponent.config.derived_designs import DerivedDesignConfig
from proponent.config.model_schema import FactoryConfig
from proponent.config.setting_schema import Inputs, QueriesConfig
from proponent.config.specifications import step_inputs
from proponent.config.specifications.step_spec import SettingSpec
from proponent.config.specifications.training_specs import TrainingSpec


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

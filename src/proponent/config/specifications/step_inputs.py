"""Inputs of steps: one frozen dataclass of artefact paths per step."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class NoInputs:
    """Inputs of a step that reads no artefact."""


@dataclass(frozen=True)
class DataInputs:
    """Inputs of a step that reads the dataset alone."""

    data: str
    """Training tensors; the query tensors and the label noise are parts of the same artefact."""


@dataclass(frozen=True)
class CheckInputs(DataInputs):
    """Inputs of the check of a setting."""

    ensemble: tuple[str, ...] = ()
    """Shards of the ensemble, for models that are trained already; empty for others."""


@dataclass(frozen=True)
class GroundTruthInputs(DataInputs):
    """Inputs of the merge of a design's shards."""

    shards: tuple[str, ...]


@dataclass(frozen=True)
class DeriveMasksInputs(DataInputs):
    """Inputs of masks that are derived from scores or from the data."""

    scores: str = ""
    """Scores of the method; empty for masks that all methods share."""


@dataclass(frozen=True)
class RetrainMasksInputs(DataInputs):
    """Inputs of a shard of retrainings on derived masks."""

    masks: str


@dataclass(frozen=True)
class PatchModelsInputs(DeriveMasksInputs):
    """Inputs of the optimiser steps that trained members take on proponents."""

    ensemble: tuple[str, ...] = ()
    """Shards of the ensemble that hold the members."""


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
class ShuffleInputs(DataInputs):
    """Inputs of the members with shuffled weights."""

    ensemble: str
    """Shard of the ensemble."""


@dataclass(frozen=True)
class RepeatInputs(AttributeInputs):
    """Inputs of scores that are repeated for other models."""

    original: str = ""
    """Scores of the same method, whose hyper-parameters are used."""


@dataclass(frozen=True)
class AgreementInputs:
    """Inputs of the comparison of all methods' scores."""

    scores: dict[str, str]
    """Scores per method."""


@dataclass(frozen=True)
class EvaluateInputs(DataInputs):
    """Inputs of an evaluation."""

    scores: str
    ground_truth: dict[str, str]
    """Retrainings per design."""
    derived: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Derived masks and the shards of their retrainings, by metric, and by metric and method (``coreset/trak``)."""
    repeated: dict[str, str] = field(default_factory=dict)
    """Scores of the same method for other models, by what differs (:mod:`proponent.plan.repeat_nodes`)."""


@dataclass(frozen=True)
class SummaryInputs:
    """Inputs of a setting's summary."""

    metrics: dict[str, str]
    """Metrics file per method."""
    check: str
    """Report of the setting's check; empty if no method has metrics."""


@dataclass(frozen=True)
class FiguresInputs(DataInputs):
    """Inputs of a setting's figures; ``data`` is empty if no method has scores."""

    ensemble: tuple[str, ...]
    summary: str
    """Leaderboard of the setting; empty if it could not be made."""
    scores: dict[str, str]
    """Scores per method."""


@dataclass(frozen=True)
class ExplainInputs(DataInputs):
    """Inputs of the explanations of a setting."""

    ensemble: tuple[str, ...]
    features: tuple[str, ...]
    """Shards of features that the methods used."""
    scores: dict[str, str]
    """Scores per method."""


@dataclass(frozen=True)
class ReportSectionInputs(FiguresInputs):
    """Inputs of what the report shows of a setting."""

    explanations: str = ""
    """Explanations of the setting; empty if it has none."""


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
class ReportInputs:
    """Inputs of the report."""

    sections: dict[str, str]
    """Section per setting."""


def paths_of(inputs: Any) -> list[str]:
    """Return the paths in an inputs dataclass, in the order of its fields and without repetition; empty ones are absent."""
    return list(
        dict.fromkeys(_strings([getattr(inputs, entry.name) for entry in dataclasses.fields(inputs)]))
    )


def _strings(values: Any) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            if value:
                yield value
        else:
            yield from _strings(value.values() if isinstance(value, dict) else value)

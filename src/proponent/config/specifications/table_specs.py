"""Specifications of the steps that evaluate scores and publish the results."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from proponent.config.derived_designs import DerivedDesignConfig
from proponent.config.setting_schema import QueriesConfig
from proponent.config.specifications import step_inputs
from proponent.config.specifications.step_spec import SettingSpec, StepSpec


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

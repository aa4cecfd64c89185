"""The specification of each step."""

from __future__ import annotations

from proponent.config.specifications.derived_specs import (
    DeriveMasksSpec,
    PatchModelsSpec,
    RetrainMasksSpec,
    SearchRemovalSpec,
)
from proponent.config.specifications.method_specs import (
    AdoptSpec,
    AttributeSpec,
    FeaturizeSpec,
    RepeatSpec,
    ShuffleLabelsSpec,
    ShuffleSpec,
)
from proponent.config.specifications.step_spec import StepSpec
from proponent.config.specifications.table_specs import (
    AgreementSpec,
    CollectSpec,
    EvaluateSpec,
    ExplainSpec,
    FiguresSpec,
    OverviewSpec,
    ReportSectionSpec,
    ReportSpec,
    SummarySpec,
)
from proponent.config.specifications.training_specs import (
    AdoptModelsSpec,
    CheckSpec,
    DataSpec,
    GroundTruthSpec,
    RetrainScriptSpec,
    RetrainSpec,
    TrainScriptSpec,
    TrainSpec,
)

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

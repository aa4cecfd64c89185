"""Nodes of tables and figures: the summary and the figures of each setting, the leaderboard and the overview.

A complete plan adds them with every method. After a run with failures they are added again with what the run has made, and
with the reasons for the rest (:mod:`proponent.inspection.partial_tables`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from proponent.config.benchmark_schema import MetricConfig
from proponent.config.setting_schema import QueriesConfig
from proponent.config.specifications.step_inputs import (
    AgreementInputs,
    CollectInputs,
    FiguresInputs,
    OverviewInputs,
    SummaryInputs,
)
from proponent.config.specifications.table_specs import (
    AgreementSpec,
    CollectSpec,
    FiguresSpec,
    OverviewSpec,
    SummarySpec,
)
from proponent.plan import artefact_paths as paths
from proponent.plan.graph import Graph

FIGURES = ("lds", "frontier", "loss", "proponents")
"""Figures of a setting; see :mod:`proponent.publish.figures`."""


def add_summary(
    graph: Graph,
    setting: str,
    methods: Iterable[str],
    *,
    left_out: Mapping[str, str],
    missing: Mapping[str, str],
    failed: Mapping[str, str] | None = None,
) -> str:
    """Add the summary of a setting.

    Args:
        graph: graph with the metrics of the setting.
        setting: name of the setting.
        methods: methods that have metrics.
        left_out: reason by method that cannot run on the setting.
        missing: reason by metric whose retrainings the setting cannot make.
        failed: reason by method without metrics because a job failed.
    """
    names = tuple(methods)
    spec = SummarySpec(
        setting=setting,
        methods=names,
        left_out=dict(left_out),
        missing=dict(missing),
        failed=dict(failed or {}),
    )
    check = paths.check(setting) if names else ""  # without the check, no method has metrics
    inputs = SummaryInputs({method: paths.metrics(setting, method) for method in names}, check)
    return graph.add(paths.summary(setting), spec, inputs)


def add_agreement(
    graph: Graph, setting: str, methods: Iterable[str], queries: QueriesConfig, config: MetricConfig | None
) -> str:
    """Add the rank correlations between the scores of ``methods``."""
    names = tuple(methods)
    inputs = AgreementInputs({method: paths.scores(setting, method) for method in names})
    spec = AgreementSpec(
        setting=setting, methods=names, queries=queries, params=config.params if config else {}
    )
    return graph.add(paths.agreement(setting), spec, inputs, ["proponent.metrics.method_agreement:evaluate"])


def add_figures(graph: Graph, setting: str, methods: Iterable[str], ensemble: Iterable[str]) -> str:
    """Add the figures of a setting, from its summary, the scores of ``methods`` and shards of the ensemble."""
    names = tuple(methods)
    inputs = FiguresInputs(
        data=paths.data(setting) if names else "",
        ensemble=tuple(ensemble),
        summary=paths.summary(setting),
        scores={method: paths.scores(setting, method) for method in names},
    )
    spec = FiguresSpec(setting=setting, methods=names, figures=FIGURES)
    return graph.add(paths.figure(FIGURES[0], setting), spec, inputs)


def add_failed_figures(graph: Graph, setting: str, reason: str) -> str:
    """Add figures that state why those of the setting cannot be drawn."""
    spec = FiguresSpec(setting=setting, methods=(), figures=FIGURES, failed=reason)
    inputs = FiguresInputs(data="", ensemble=(), summary="", scores={})
    return graph.add(paths.figure(FIGURES[0], setting), spec, inputs)


def add_leaderboard(
    graph: Graph, methods: Mapping[str, Sequence[str]], failed: Mapping[str, str] | None = None
) -> str:
    """Add the leaderboard of all settings.

    Args:
        graph: graph with the summaries of the settings.
        methods: methods per setting.
        failed: reason by setting without a summary.
    """
    reasons = dict(failed or {})
    spec = CollectSpec(methods={name: tuple(own) for name, own in methods.items()}, failed=reasons)
    inputs = CollectInputs({name: paths.summary(name) for name in methods if name not in reasons})
    return graph.add(paths.LEADERBOARD, spec, inputs)


def add_overview(graph: Graph, settings: Iterable[str], failed: Mapping[str, str] | None = None) -> str:
    """Add the figure of all settings; settings with a reason in ``failed`` are not drawn."""
    names, reasons = tuple(settings), dict(failed or {})
    inputs = OverviewInputs({name: paths.summary(name) for name in names if name not in reasons})
    return graph.add(paths.OVERVIEW, OverviewSpec(settings=names, failed=reasons), inputs)

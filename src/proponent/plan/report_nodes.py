"""Nodes of the report: what it shows of each setting, and the page of all settings.

A complete plan adds them with every method; after a run with failures they are added again, as those of
:mod:`proponent.plan.table_nodes` are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from proponent.config.benchmark import Benchmark
from proponent.config.configured_method import Method
from proponent.config.explained_methods import EXPLAINED_MODULES
from proponent.config.setting_schema import SettingConfig
from proponent.config.specifications.step_inputs import ExplainInputs, ReportInputs, ReportSectionInputs
from proponent.config.specifications.step_spec import Engine
from proponent.config.specifications.table_specs import ExplainSpec, ReportSectionSpec, ReportSpec
from proponent.plan import artefact_paths as paths
from proponent.plan.graph import Graph

PAGE_FILES = ("src/proponent/publish/report/page_files", "src/proponent/settings/data_cards")
"""Folders with the template, style and scripts of the page, and with what it says about datasets: a change of one of these
files makes the page again."""


def add_explanations(
    graph: Graph, benchmark: Benchmark, setting: str, methods: Iterable[str], ensemble: Iterable[str]
) -> str:
    """Add heat maps by those of ``methods`` that the explainer supports, and clusters of examples.

    Returns:
        The path; empty where the explainer supports none of the methods.
    """
    names = tuple(name for name in methods if _is_explained(benchmark.methods[name]))
    if not names:
        return ""
    features = {
        shard
        for name in names
        for shards in graph.nodes[paths.scores(setting, name)].named_inputs.features.values()
        for shard in shards
    }
    inputs = ExplainInputs(
        data=paths.data(setting),
        ensemble=tuple(ensemble),
        features=tuple(sorted(features)),
        scores={name: paths.scores(setting, name) for name in names},
    )
    compute = benchmark.config.compute
    engine = Engine(threads=compute.threads, device=compute.device)
    spec = ExplainSpec(setting=setting, engine=engine, methods=names, memory_mib=compute.memory_mib)
    return graph.add(paths.explanations(setting), spec, inputs)


def _is_explained(method: Method) -> bool:
    """Return whether the pair scores of a method may be differentiable in closed form; the job finds out."""
    return not method.external and method.module in EXPLAINED_MODULES


def add_report_section(
    graph: Graph,
    benchmark: Benchmark,
    setting: str,
    methods: Iterable[str],
    ensemble: Iterable[str],
    explanations: str = "",
) -> str:
    """Add what the report shows of a setting, from its summary, scores, shards of the ensemble and explanations."""
    names = tuple(methods)
    inputs = ReportSectionInputs(
        data=paths.data(setting) if names else "",
        ensemble=tuple(ensemble),
        summary=paths.summary(setting),
        scores={method: paths.scores(setting, method) for method in names},
        explanations=explanations,
    )
    config = benchmark.settings[setting]
    spec = ReportSectionSpec(
        setting=setting,
        methods=names,
        kinds={name: _kind(method) for name, method in benchmark.methods.items()},
        facts=_facts(config),
        meanings={
            name: text for metric in benchmark.metrics.values() for name, text in metric.meaning.items()
        },
        description=config.description,
    )
    return graph.add(paths.report_section(setting), spec, inputs)


def add_failed_section(graph: Graph, benchmark: Benchmark, setting: str, reason: str) -> str:
    """Add a section that states why a setting has no results."""
    spec = ReportSectionSpec(
        setting=setting,
        methods=(),
        kinds={},
        facts={},
        description=benchmark.settings[setting].description,
        failed=reason,
    )
    inputs = ReportSectionInputs(data="", ensemble=(), summary="", scores={})
    return graph.add(paths.report_section(setting), spec, inputs)


def add_report(graph: Graph, settings: Iterable[str], failed: Mapping[str, str] | None = None) -> str:
    """Add the page of all settings; settings with a reason in ``failed`` have no section."""
    names, reasons = tuple(settings), dict(failed or {})
    inputs = ReportInputs({name: paths.report_section(name) for name in names if name not in reasons})
    files = [
        path.relative_to(graph.root).as_posix()
        for folder in PAGE_FILES
        for path in sorted((graph.root / folder).glob("*.*"))
    ]
    return graph.add(
        paths.REPORT, ReportSpec(settings=names, failed=reasons), inputs, files=graph.digests_of(files)
    )


def _kind(method: Method) -> str:
    """Return the kind of a method for people: the folder of its module, in words."""
    if method.external:
        return "own rule"
    package, _, rest = method.module.partition("proponent.methods.")
    return "own module" if package or not rest else rest.partition(".")[0].replace("_", " ")


def _facts(setting: SettingConfig) -> dict[str, str]:
    """Return what the configuration says about a setting, by name."""
    facts = {"task": setting.task.name, "dataset": setting.dataset.factory}
    if setting.model is not None:
        facts["model"] = setting.model.factory
    recipe = setting.recipe
    if recipe is not None:
        length = f"{recipe.epochs} epochs" if recipe.epochs else f"{recipe.steps} steps"
        if recipe.stages:
            length = f"{len(recipe.stages)} stages"
        facts["training"] = f"{recipe.optimizer.value}, {length}, batches of {recipe.batch_size}"
    facts["ensemble"] = f"{setting.ensemble.members} members"
    designs = [
        f"{name} ({design.count} masks × {design.seeds} seed{'s' * (design.seeds > 1)})"
        for name, design in sorted(setting.designs.items())
    ]
    return facts | ({"retrainings": ", ".join(designs)} if designs else {})

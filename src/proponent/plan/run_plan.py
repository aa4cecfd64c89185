"""The plan of a run: all artefacts that the configuration asks for, and the answers that the rules need."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property

from proponent.config.benchmark import Benchmark
from proponent.config.benchmark_schema import MetricConfig
from proponent.config.design_schema import n_rows
from proponent.config.load import nearest
from proponent.config.specifications.need_loaders import LEARNED_FROM
from proponent.errors import UserError
from proponent.plan import artefact_paths as paths
from proponent.plan.eligibility import missing_metrics, why_left_out
from proponent.plan.given_members import with_members
from proponent.plan.graph import Graph, Node
from proponent.plan.method_nodes import MethodNodes
from proponent.plan.report_nodes import add_explanations, add_report, add_report_section
from proponent.plan.setting_nodes import SettingNodes
from proponent.plan.table_nodes import (
    FIGURES,
    add_agreement,
    add_figures,
    add_leaderboard,
    add_overview,
    add_summary,
)
from proponent.store.files import read_json

_FEW_PREDICTIONS = 250_000
"""Metrics of at most this many predictions (queries times masks) take seconds: not worth a job of their own on a cluster."""


@dataclass
class Plan:
    """Every artefact of the configured settings, methods and metrics.

    Args:
        benchmark: validated configuration.
        in_job: whether Snakemake runs inside a job of its own. The graph then stays empty and inputs are read from key
            files: otherwise each of 100,000 jobs would plan all the others too.
    """

    benchmark: Benchmark
    in_job: bool = False
    graph: Graph = field(init=False)
    reasons: dict[str, dict[str, str]] = field(default_factory=dict)
    """Reason by setting and method, for the methods that cannot run on a setting."""
    scores: dict[str, list[str]] = field(default_factory=dict)
    """Methods that run, by setting."""
    missing: dict[str, dict[str, str]] = field(default_factory=dict)
    """Reason by setting and metric, for the metrics whose retrainings a setting cannot make."""
    current: set[str] = field(default_factory=set)
    """Paths of the current artefacts, once :func:`proponent.plan.settle.settle` has found them."""

    def __post_init__(self) -> None:
        self.benchmark = with_members(self.benchmark)
        self.graph = Graph(self.benchmark.root, self.benchmark.tree)
        for name, setting in self.benchmark.settings.items():
            reasons = why_left_out(name, setting, self.benchmark.methods)
            self.reasons[name] = reasons
            self.missing[name] = missing_metrics(self.benchmark, name)
            self.scores[name] = [method for method in self.benchmark.methods if method not in reasons]
        if self.in_job:
            return
        for name, setting in self.benchmark.settings.items():
            methods = [self.benchmark.methods[method] for method in self.scores[name]]
            nodes = SettingNodes(self.graph, self.benchmark, name, setting)
            nodes.add()
            for method in sorted(methods, key=lambda method: bool(method.config.scores)):
                MethodNodes(nodes, method).add()
            self._add_tables(nodes)
        add_leaderboard(self.graph, self.scores)
        add_overview(self.graph, self.scores)
        add_report(self.graph, self.scores)

    @property
    def left_out(self) -> list[str]:
        """Why methods cannot run on settings, one line per pair."""
        return [
            f"{setting}/{method} {reason}"
            for setting, reasons in self.reasons.items()
            for method, reason in reasons.items()
        ]

    @property
    def without_metrics(self) -> list[str]:
        """Why settings have no value of a metric, one line per pair."""
        return [
            f"{setting}: {metric} {reason}"
            for setting, reasons in self.missing.items()
            for metric, reason in reasons.items()
        ]

    def key_file(self, path: str) -> str:
        """Return the key file of the artefact at ``path``."""
        return paths.key_path(path if self.in_job else self._node(path).path)

    def inputs(self, path: str) -> list[str]:
        """Return the files that the rule of the artefact at ``path`` waits for, sorted."""
        if self.in_job:
            return list(read_json(self.benchmark.root / paths.key_path(path))["upstream"])
        return list(self._node(path).upstream)

    def check_before(self, path: str) -> list[str]:
        """Return the check that must pass before the artefact at ``path`` is made; nothing if it is not made again."""
        return [] if self.in_job or path in self.unaffected else list(self._node(path).after)

    @cached_property
    def unaffected(self) -> set[str]:
        """Artefacts that are current and of which everything that they are made from is current."""
        found: set[str] = set()
        for path, node in self.graph.nodes.items():
            if path in self.current and found.issuperset(node.inputs):
                found.add(path)
        return found

    def methods_of(self, family: str) -> str:
        """Return a wildcard constraint that fits the methods of one family, and nothing if there are none."""
        names = [name for name, method in self.benchmark.methods.items() if method.config.family == family]
        return "|".join(names) or "(?!)"

    def settings_by(self, way: str) -> str:
        """Return a wildcard constraint that fits the settings whose models are trained in one way, or nothing if none is.

        Args:
            way: ``recipe``, ``command`` or ``files``.
        """
        names = [name for name, setting in self.benchmark.settings.items() if setting.trained_by == way]
        return "|".join(map(re.escape, names)) or "(?!)"

    def metrics_files(self) -> list[str]:
        """Return the metrics file of every method on every setting."""
        return [
            paths.metrics(setting, method) for setting, methods in self.scores.items() for method in methods
        ]

    def targets(self) -> list[str]:
        """Return what rule ``all`` makes."""
        figures = [paths.figure(figure, setting) for setting in self.scores for figure in FIGURES]
        agreements = map(paths.agreement, self.compared)
        return [paths.LEADERBOARD, paths.OVERVIEW, *map(paths.summary, self.scores), *figures, *agreements]

    @property
    def agreement(self) -> MetricConfig | None:
        """The metric that compares methods with each other; None if it is not asked for."""
        configured = self.benchmark.metrics.values()
        return next((config for config in configured if config.metric == "method_agreement"), None)

    @property
    def compared(self) -> list[str]:
        """Settings whose methods are compared with each other."""
        if self.agreement is None:
            return []
        return [setting for setting, methods in self.scores.items() if len(methods) > 1]

    def report_sections(self) -> list[str]:
        """Return what the report shows of each setting, which has the galleries of the methods."""
        return [paths.report_section(setting) for setting in self.scores]

    def first_summary(self) -> str:
        """Return the summary of the first setting in params.yaml, which rule ``quickstart`` makes."""
        return paths.summary(next(iter(self.scores)))

    def evaluates_locally(self) -> bool:
        """Return whether evaluations are small enough to run where Snakemake does, even with a cluster's profile."""
        predictions = (
            (setting.queries.tune + setting.queries.test)
            * sum(
                n_rows(design)
                for name, design in setting.designs.items()
                if name not in LEARNED_FROM.values()
            )
            for setting in self.benchmark.settings.values()
        )
        return all(count <= _FEW_PREDICTIONS for count in predictions)

    def _node(self, path: str) -> Node:
        if path not in self.graph.nodes:
            reasons = [
                reason
                for reason in self.left_out
                if path == paths.scores(*reason.split(" ")[0].split("/", 1))
            ]
            unknown = f"no configured setting, design or method makes it{nearest(path, self.graph.nodes)}"
            raise UserError(f"{path}: {reasons[0] if reasons else unknown}")
        return self.graph.nodes[path]

    def _add_tables(self, nodes: SettingNodes) -> None:
        """Add what is made from all metrics of one setting: its summary, its figures and its section of the report."""
        name, methods = nodes.name, self.scores[nodes.name]
        if not methods:
            raise UserError(f"params.yaml: no method can run on setting '{name}': {'; '.join(self.left_out)}")
        add_summary(self.graph, name, methods, left_out=self.reasons[name], missing=self.missing[name])
        shards = [paths.ensemble(name, shard) for shard, _ in enumerate(nodes.member_shards)]
        add_figures(self.graph, name, methods, shards)
        if name in self.compared:
            add_agreement(self.graph, name, methods, nodes.setting.queries, self.agreement)
        explanations = add_explanations(self.graph, self.benchmark, name, methods, shards)
        add_report_section(self.graph, self.benchmark, name, methods, shards, explanations)

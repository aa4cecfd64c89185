"""Tables, figures and the report after a run with failures: they are made from the rest, with the reasons for gaps.

Snakemake makes nothing downstream of a failed job. This module plans tables and figures again without the missing methods
and makes them. Their keys differ from the planned ones, so that the next run makes them again.
"""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from proponent.inspection.failures import Failures, find_failures
from proponent.inspection.run_events import Attempt
from proponent.plan import artefact_paths as paths
from proponent.plan.artefact_paths import key_path
from proponent.plan.current import current_artefacts
from proponent.plan.graph import Graph
from proponent.plan.report_nodes import add_failed_section, add_report, add_report_section
from proponent.plan.run_plan import Plan
from proponent.plan.table_nodes import (
    FIGURES,
    add_agreement,
    add_failed_figures,
    add_figures,
    add_leaderboard,
    add_overview,
    add_summary,
)
from proponent.store.failure_record import clear_failure, write_failure
from proponent.store.files import write_json
from proponent.store.job_log import log_tail

UNREACHED = "not made: the run ended before its job"
"""Reason of a method whose job was neither started nor waits for a failed one."""


@dataclass
class PartialTables:
    """Makes the tables, figures and pages that a run was asked for and could not make.

    Args:
        plan: plan of the run.
        failures: why artefacts are missing.
        asked: paths that the run was asked for.
    """

    plan: Plan
    failures: Failures
    asked: Collection[str]
    graph: Graph = field(init=False)
    made: list[str] = field(default_factory=list)
    """Artefacts that were made from the rest."""
    problems: dict[str, str] = field(default_factory=dict)
    """Reason by artefact that cannot be made from the rest either."""

    def __post_init__(self) -> None:
        self.graph = replace(self.plan.graph, nodes=dict(self.plan.graph.nodes))

    def make(self) -> None:
        """Make summaries, figures, the leaderboard, the overview and the report, as far as asked for and missing."""
        for setting in self.plan.scores:
            if self._lacks(paths.summary(setting)):
                self._make_summary(setting)
            if self._lacks(paths.figure(FIGURES[0], setting)):
                self._make_figures(setting)
            if self._lacks(paths.agreement(setting)):
                self._make_agreement(setting)
            if self._lacks(paths.report_section(setting)):
                self._make_section(setting)
        failed = {name: why for name in self.plan.scores if (why := self._without_summary(name))}
        if self._lacks(paths.LEADERBOARD):
            self._make(add_leaderboard(self.graph, self.plan.scores, failed), "logs/collect.log")
        if self._lacks(paths.OVERVIEW):
            self._make_overview(failed)
        if self._lacks(paths.REPORT):
            sections = {name: paths.report_section(name) for name in self.plan.scores}
            absent = {
                name: self.problems.get(path, UNREACHED)
                for name, path in sections.items()
                if self._is_absent(path)
            }
            self._make(add_report(self.graph, self.plan.scores, absent), "logs/report.log")

    def _is_absent(self, path: str) -> bool:
        return path not in self.failures.current and path not in self.made

    def _lacks(self, path: str) -> bool:
        return path in self.asked and path not in self.failures.current

    def _with_metrics(self, setting: str) -> list[str]:
        """Return the methods whose metrics and scores are current."""
        current = self.failures.current
        return [
            method
            for method in self.plan.scores[setting]
            if paths.metrics(setting, method) in current and paths.scores(setting, method) in current
        ]

    def _make_summary(self, setting: str) -> None:
        path = paths.summary(setting)
        if path in self.failures.own:
            self.problems[path] = self.failures.own[path].text
            return
        methods = self._with_metrics(setting)
        failed = {
            method: self.failures.why_missing(paths.metrics(setting, method)) or UNREACHED
            for method in self.plan.scores[setting]
            if method not in methods
        }
        add_summary(
            self.graph,
            setting,
            methods,
            left_out=self.plan.reasons[setting],
            missing=self.plan.missing[setting],
            failed=failed,
        )
        self._make(path, f"logs/{setting}/summary.log")

    def _make_figures(self, setting: str) -> None:
        path, log = paths.figure(FIGURES[0], setting), f"logs/{setting}/figures.log"
        why = self._without_summary(setting) or self._own(path)
        if not why:
            shards = self.plan.graph.nodes[path].named_inputs.ensemble
            trained = [shard for shard in shards if shard in self.failures.current]
            add_figures(self.graph, setting, self._with_metrics(setting), trained)
            self._make(path, log)
            why = self.problems.pop(path, "")
        if why:
            add_failed_figures(self.graph, setting, why)
            self._make(path, log)

    def _make_agreement(self, setting: str) -> None:
        methods = self._with_metrics(setting)
        if len(methods) > 1:
            queries = self.plan.benchmark.settings[setting].queries
            path = add_agreement(self.graph, setting, methods, queries, self.plan.agreement)
            self._make(path, f"logs/{setting}/correlate.log")

    def _make_section(self, setting: str) -> None:
        path, log = paths.report_section(setting), f"logs/{setting}/report.log"
        why = self._without_summary(setting) or self._own(path)
        if not why:
            shards = self.plan.graph.nodes[path].named_inputs.ensemble
            trained = [shard for shard in shards if shard in self.failures.current]
            methods = self._with_metrics(setting)
            explained = paths.explanations(setting)
            explanations = explained if explained in self.failures.current else ""
            add_report_section(self.graph, self.plan.benchmark, setting, methods, trained, explanations)
            self._make(path, log)
            why = self.problems.pop(path, "")
        if why:
            add_failed_section(self.graph, self.plan.benchmark, setting, why)
            self._make(path, log)

    def _make_overview(self, failed: Mapping[str, str]) -> None:
        why = self._own(paths.OVERVIEW)
        if not why:
            self._make(add_overview(self.graph, self.plan.scores, failed), "logs/overview.log")
            why = self.problems.pop(paths.OVERVIEW, "")
        if why:
            nothing = dict.fromkeys(self.plan.scores, why)
            self._make(add_overview(self.graph, self.plan.scores, nothing), "logs/overview.log")

    def _own(self, path: str) -> str:
        return self.failures.own[path].text if path in self.failures.own else ""

    def _without_summary(self, setting: str) -> str:
        """Return why a setting has no summary; an empty string if it has one by now."""
        path = paths.summary(setting)
        if not self._is_absent(path):
            return ""
        return self.problems.get(path) or UNREACHED

    def _make(self, path: str, log: str) -> None:
        """Run the step of an artefact as planned in the partial graph, in a process of its own as its rule does."""
        root, node = self.graph.root, self.graph.nodes[path]
        key_file = root / key_path(path)
        write_json(key_file, node.key_content())
        (root / log).parent.mkdir(parents=True, exist_ok=True)
        with (root / log).open("wb") as stream:
            command = ["proponent", node.step.replace("_", "-"), str(key_file.relative_to(root))]
            done = subprocess.run(command, cwd=root, stdout=stream, stderr=stream, check=False)  # noqa: S603
        if done.returncode:
            clear_failure(key_file)
            last = " ".join(log_tail(root / log, 1)).removeprefix("error: ")
            self.problems[path] = f"failed: {last or f'exit code {done.returncode}'}; log: {log}"
        else:
            self.made.append(path)


def make_partial_tables(
    plan: Plan, asked: Collection[str], failed_jobs: Iterable[Attempt]
) -> tuple[Failures, PartialTables]:
    """Make what a run with failures was asked for and lacks of tables and figures.

    Args:
        plan: plan of the run.
        asked: outputs of all jobs of the run, including those that were not started.
        failed_jobs: the failed jobs.

    Returns:
        The failures, and the tables that were made from the rest.
    """
    failures = find_failures(plan.graph, current_artefacts(plan.graph), failed_jobs)
    failures.own = {path: failure for path, failure in failures.own.items() if path in asked}
    for path, failure in failures.own.items():
        write_failure(
            plan.graph.root / key_path(path), failure
        )  # those that Snakemake alone knows about as well
    tables = PartialTables(plan, failures, asked)
    tables.make()
    return failures, tables

"""Reasons why artefacts are missing: failed jobs, and what waits for them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from proponent.config.specifications.method_specs import MethodSpec
from proponent.config.specifications.step_spec import SettingSpec
from proponent.config.specifications.table_specs import EvaluateSpec
from proponent.inspection.run_events import Attempt
from proponent.plan.artefact_paths import key_path
from proponent.plan.graph import Graph, Node
from proponent.store.failure_record import Failure, read_failure
from proponent.store.job_log import log_tail
from proponent.store.lease import abandoned_by

_SLURM_STATE = re.compile(r"SLURM status is: '(\w+)'")
_OUTSIDE = {
    "OUT_OF_MEMORY": "it exceeded the memory that it asked for",
    "TIMEOUT": "it exceeded the run time that it asked for",
    "NODE_FAIL": "its node failed",
    "PREEMPTED": "a more important job took its place",
    "CANCELLED": "it was cancelled",
}
"""States of a Slurm job that was ended from outside."""

_OF_ALL_METHODS = ("data", "check")
"""Steps without which no method has scores."""


@dataclass
class Failures:
    """Why artefacts of a graph are not current."""

    graph: Graph
    current: Collection[str]
    own: dict[str, Failure]
    """Failures of jobs, by the artefact that the job did not make."""
    _texts: dict[str, str] = field(default_factory=dict)

    def why_missing(self, path: str) -> str:
        """Return why an artefact is not current, in one line: its own failure, or that of something upstream.

        An empty string if no job failed, because the run did not get as far as this artefact.
        """
        if path not in self._texts:
            self._texts[path] = self._explain(path)
        return self._texts[path]

    def _explain(self, path: str) -> str:
        if path in self.current:
            return ""
        if path in self.own:
            return self.own[path].text
        node = self.graph.nodes[path]
        for name in (*node.after, *node.inputs):
            if why := self.why_missing(name):
                of_same_method = isinstance(node.spec, EvaluateSpec) and name == node.named_inputs.scores
                passed_on = of_same_method or why.startswith("needs ")
                return why if passed_on else f"needs {name}, which {_as_verb(why)}"
        return ""

    def ways_out(self) -> list[str]:
        """Return how to continue without what failed, one line per setting."""
        methods: dict[str, list[str]] = {}
        lines = []
        for path in self.own:
            spec = self.graph.nodes[path].spec
            if spec.step in _OF_ALL_METHODS and isinstance(spec, SettingSpec):
                lines.append(f"removing '{spec.setting}' from settings in params.yaml continues without it")
            if isinstance(spec, MethodSpec | EvaluateSpec):
                named = methods.setdefault(spec.setting, [])
                named += [spec.method] if spec.method not in named else []
        for setting, names in methods.items():
            entries = ", ".join(f"{name}: REASON" for name in names)
            lines.append(f"left_out: {{{entries}}} in configs/settings/{setting}.yaml continues without them")
        return lines


def _as_verb(text: str) -> str:
    """Return the text of a failure as the end of a sentence: ``was refused: …``, ``failed: …``, ``was killed: …``."""
    return text if text.startswith("failed") else f"was {text}"


def find_failures(graph: Graph, current: Collection[str], attempts: Iterable[Attempt] = ()) -> Failures:
    """Find the reasons why artefacts are missing, from failure records and from the jobs of the last run.

    Args:
        graph: the graph of the current configuration.
        current: paths of the artefacts that are current.
        attempts: jobs of a run that has not ended yet; a failed one without a record was killed together with its
            shell, or belongs to a rule of the user's own.
    """
    own: dict[str, Failure] = {}
    missing = {path: node for path, node in graph.nodes.items() if path not in current}
    for path, node in missing.items():
        record = read_failure(graph.root / key_path(path), node.key)
        if record is not None:
            own[path] = record
    for attempt in attempts:
        if attempt.state == "failed":
            for path in missing.keys() & set(attempt.outputs):
                own.setdefault(path, _without_record(graph, missing[path], attempt))
    return Failures(graph, current, own)


def _without_record(graph: Graph, node: Node, attempt: Attempt) -> Failure:
    log = attempt.log or ""
    state = _SLURM_STATE.search(attempt.message)
    if state and state[1] in _OUTSIDE:
        return Failure(node.path, node.key, "killed", f"{_OUTSIDE[state[1]]} (Slurm: {state[1]})", log)
    if abandoned_by(graph.root / node.path):
        return Failure(node.path, node.key, "killed", "its process ended without a message", log)
    last = " ".join(log_tail(graph.root / log, 1)) if log else ""
    reason = last.removeprefix("error: ") or f"rule {attempt.rule} ended without a message"
    return Failure(node.path, node.key, "failed", reason, log)

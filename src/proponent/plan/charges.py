"""Charges: the artefacts that a method pays for, and the share of each.

A method pays for its scores and, along their ancestors, for everything that was made for it: data, its members' part of
each shard of the ensemble and of features, and the retrainings that it learned from. It does not pay for the retrainings
on which it was tuned and is evaluated, which belong to the benchmark. If it starts from the scores of other methods, it
pays once for whatever these pay for. The evaluation adds up the shares (:mod:`proponent.steps.evaluate`).
"""

from __future__ import annotations

from proponent.config.specifications.method_specs import FeaturizeSpec, MethodSpec
from proponent.config.specifications.need_loaders import LEARNED_FROM
from proponent.config.specifications.step_spec import StepSpec
from proponent.config.specifications.training_specs import (
    AdoptModelsSpec,
    GroundTruthSpec,
    RetrainScriptSpec,
    RetrainSpec,
    TrainScriptSpec,
    TrainSpec,
)
from proponent.plan import artefact_paths as paths
from proponent.plan.graph import Graph

TUNED_ON = "tune"
"""The design on which candidates are compared: none of its masks evaluates a method or is learned from."""


def shares(graph: Graph, scores: str) -> dict[str, float]:
    """Return the share of each artefact's cost, by path, that the method behind ``scores`` pays for."""
    found: dict[str, float] = {}
    pending = [(scores, 0)]
    while pending:
        path, used = pending.pop()
        node = graph.nodes[path]
        if not _is_charged(node.spec):
            continue
        if isinstance(node.spec, MethodSpec):
            used = node.spec.members
        share = _share(node.spec, used)
        if share > found.get(path, -1.0):
            found[path] = share
            pending.extend((name, used) for name in node.inputs)
    return found


def tuned_on(graph: Graph, setting: str, scores: str) -> tuple[str, ...]:
    """Return the shards of retrainings on which the candidates behind ``scores`` were compared."""
    truth = paths.ground_truth(setting, TUNED_ON)
    behind = (scores, *graph.nodes[scores].inputs)
    if not any(truth in graph.nodes[path].inputs for path in behind):
        return ()
    return tuple(graph.nodes[truth].named_inputs.shards)


def _is_charged(spec: StepSpec) -> bool:
    if isinstance(spec, (RetrainSpec, RetrainScriptSpec, GroundTruthSpec)):
        return spec.design.name in LEARNED_FROM.values()
    return True


def _share(spec: StepSpec, used: int) -> float:
    """Return the part of a shard that belongs to the first ``used`` members; 1 for any other artefact."""
    if isinstance(spec, (TrainSpec, TrainScriptSpec, AdoptModelsSpec, FeaturizeSpec)):
        return sum(member < used for member in spec.members) / len(spec.members)
    return 1.0

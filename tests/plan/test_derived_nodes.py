"""Metrics that retrain in the plan: what is planned, what a change makes again, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from proponent.config.benchmark import load_benchmark
from proponent.config.derived_designs import DerivedDesignConfig, DerivedKind
from proponent.config.specifications.derived_specs import RetrainMasksSpec, SearchRemovalSpec
from proponent.config.specifications.table_specs import EvaluateSpec
from proponent.errors import UserError
from proponent.inspection.planned_retrainings import lines_on_retrainings
from proponent.plan.artefact_paths import metrics
from proponent.plan.run_plan import Plan

REPOSITORY = Path(__file__).parents[2]
DERIVED = "results/digits-lr/ground_truth/derived"


def plan(*names: str, overrides: Mapping[str, Any] | None = None) -> Plan:
    asked: Mapping[str, Any] = {
        "settings": ["digits-lr"],
        "methods": ["random", "graddot"],
        "metrics": list(names),
        "overrides": overrides or {},
    }
    return Plan(load_benchmark(REPOSITORY, asked))


@pytest.fixture(scope="module")
def planned() -> Plan:
    return plan("lds", "counterfactual", "lds-fractions")


def test_methods_have_masks_of_their_own_and_share_those_of_the_controls(planned: Plan) -> None:
    masks = [path for path in planned.graph.nodes if path.startswith(DERIVED) and "/masks/" in path]
    assert sorted(masks) == [
        f"{DERIVED}/counterfactual/masks/{name}.safetensors" for name in ("all-methods", "graddot", "random")
    ] + [f"{DERIVED}/lds-fractions/masks/all-methods.safetensors"]
    evaluated = planned.graph.nodes[metrics("digits-lr", "graddot")]
    assert isinstance(evaluated.spec, EvaluateSpec)
    assert set(evaluated.named_inputs.derived) == {
        "counterfactual",
        "counterfactual/graddot",
        "lds-fractions",
    }


def test_shards_cover_all_retrainings(planned: Plan) -> None:
    specs = [
        node.spec
        for path, node in planned.graph.nodes.items()
        if path.startswith(f"{DERIVED}/counterfactual/shards/graddot")
    ]
    assert [spec.runs for spec in specs if isinstance(spec, RetrainMasksSpec)] == [
        (start, min(start + 50, 360)) for start in range(0, 360, 50)
    ]


def test_the_plan_states_the_retrainings_before_the_start(planned: Plan) -> None:
    lines = list(lines_on_retrainings(planned.graph.nodes.values(), planned.benchmark.metrics))
    assert lines == [
        "retrainings for counterfactual on digits-lr, at most 360 for each of 2 methods (budget 500) and 1,083 that all "
        "methods share: 1,803 in all",
        "retrainings for lds-fractions on digits-lr, at most 480 that all methods share",
    ]


def test_a_change_of_a_method_reaches_its_own_retrainings_only(planned: Plan) -> None:
    normalised = {"methods": {"graddot": {"params": {"normalise": True}}}}
    changed = plan("lds", "counterfactual", "lds-fractions", overrides=normalised)
    different = {
        path
        for path, node in planned.graph.nodes.items()
        if node.key != changed.graph.nodes[path].key and "/ground_truth/" in path
    }
    assert different == {
        path for path in planned.graph.nodes if path.startswith(DERIVED) and "graddot" in path
    }


def test_retrainings_are_charged_to_the_benchmark(planned: Plan) -> None:
    spec = planned.graph.nodes[metrics("digits-lr", "graddot")].spec
    assert isinstance(spec, EvaluateSpec)
    assert not any("derived" in path for path in spec.shares)


@pytest.mark.parametrize(
    ("name", "design", "said"),
    [
        (
            "counterfactual",
            {"queries": 50},
            "configs/metrics/counterfactual.yaml with overrides of params.yaml: design: 600 retrainings are more than "
            "budget.retrainings (500); lower queries, shares, count or seeds, or raise the budget",
        ),
        (
            "counterfactual",
            {"kind": "groups", "shares": []},
            "retrains; give it a 'design' with 'kind: removal'",
        ),
        ("data-support", {"shares": [0.1, 0.2]}, "shares of a search must be one number, the largest share"),
        ("lds", {"kind": "groups"}, "the metric lds does not retrain; leave 'design' out"),
        ("counterfactual", {"shares": [0.5, 0.1]}, r"design: shares must grow, not [0.5, 0.1]"),
        ("counterfactual", {"shares": [0, 0.1]}, "shares must be numbers between 0 and 1"),
        ("counterfactual", {"query": 3}, "unknown key 'design.query'; did you mean 'queries'?"),
        ("group-influence-classes", {"shares": [0.1]}, "leaves out whole groups; leave 'shares' out"),
        ("tail-patch", {"shares": [0.1]}, "a design of kind patch leaves nothing out; leave 'shares' out"),
        ("tail-patch", {"queries": 300}, "600 retrainings are more than budget.retrainings (500)"),
    ],
)
def test_mistakes_are_refused_in_one_line(name: str, design: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        plan(name, overrides={"metrics": {name: {"design": design}}})
    assert said in str(error.value)


def test_settings_that_cannot_retrain_say_why() -> None:
    asked = {
        "settings": ["concrete-mlp"],
        "methods": ["random"],
        "metrics": ["group-influence-classes", "group-influence-sources", "data-support"],
    }
    found = Plan(load_benchmark(REPOSITORY, asked))
    assert found.without_metrics == [
        "concrete-mlp: group-influence-classes leaves out classes, and configs/settings/concrete-mlp.yaml has the task "
        "regression",
        "concrete-mlp: group-influence-sources leaves out sources, and configs/settings/concrete-mlp.yaml has no 'sources'",
        "concrete-mlp: data-support changes predictions of classes, and configs/settings/concrete-mlp.yaml has the task "
        "regression",
    ]
    assert not any("derived" in path for path in found.graph.nodes)


def test_searches_are_sharded_by_query() -> None:
    found = plan("data-support")
    specs = [
        node.spec
        for path, node in found.graph.nodes.items()
        if path.startswith(f"{DERIVED}/data-support/searches/graddot")
    ]
    assert [spec.orders for spec in specs if isinstance(spec, SearchRemovalSpec)] == [(0, 16), (16, 20)]
    (line,) = lines_on_retrainings(found.graph.nodes.values(), found.benchmark.metrics)
    assert "at most 426 for each of 2 methods (budget 500) and 849 that all methods share" in line


@pytest.mark.slow
def test_steps_on_proponents_need_members_and_no_retraining() -> None:
    found = plan("tail-patch")
    nodes = {
        path: node for path, node in found.graph.nodes.items() if path.startswith(f"{DERIVED}/tail-patch")
    }
    assert sorted(nodes) == [
        f"{DERIVED}/tail-patch/patches/{name}.safetensors" for name in ("all-methods", "graddot", "random")
    ]
    for node in nodes.values():
        assert "results/digits-lr/ensemble/shard-000.json" in node.inputs
    assert list(lines_on_retrainings(found.graph.nodes.values(), found.benchmark.metrics)) == []
    few = plan("tail-patch", overrides={"metrics": {"tail-patch": {"design": {"seeds": 30, "queries": 10}}}})
    (reason,) = few.without_metrics
    assert "tail-patch needs 30 ensemble members, and configs/settings/digits-lr.yaml has" in reason


def test_rows_and_retrainings_of_every_kind() -> None:
    removal = DerivedDesignConfig(DerivedKind.removal, [0.1, 0.2], seeds=3, queries=5)
    assert (removal.own_rows, removal.shared_rows) == (10, 31)
    coreset = DerivedDesignConfig(DerivedKind.coreset, [0.1, 0.2], seeds=2, count=4)
    assert (coreset.own_retrainings, coreset.shared_retrainings) == (8, 18)
    groups = DerivedDesignConfig(DerivedKind.groups, count=7)
    assert (groups.own_rows, groups.shared_rows) == (0, 8)
    patch = DerivedDesignConfig(DerivedKind.patch, seeds=2, queries=5, count=10)
    assert (patch.own_rows, patch.shared_rows, patch.own_retrainings) == (5, 16, 10)
    suspects = DerivedDesignConfig(DerivedKind.suspects, [0.05, 0.1], seeds=2, count=3)
    assert (suspects.own_retrainings, suspects.shared_retrainings) == (4, 14)
    fractions = DerivedDesignConfig(DerivedKind.fractions, [0.1, 0.5], count=7)
    assert (fractions.own_rows, fractions.shared_rows) == (0, 14)

"""Specifications of steps survive the way through a key file, and their inputs have names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proponent.config.benchmark import load_benchmark
from proponent.config.digests.keys import plain
from proponent.config.setting_schema import QueriesConfig
from proponent.config.specifications.all_specs import SPECS
from proponent.config.specifications.method_specs import AdoptSpec, AttributeSpec
from proponent.config.specifications.restore import parse
from proponent.config.specifications.step_inputs import AttributeInputs, DataInputs, paths_of
from proponent.config.specifications.step_spec import Engine
from proponent.plan.graph import Node
from proponent.plan.run_plan import Plan

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def nodes() -> list[Node]:
    """Every node of the repository's own benchmark, with methods of each kind of need."""
    asked = {
        "settings": ["digits-mlp", "digits-lr-noisy", "digits-mlp-smooth"],
        "methods": ["random", "trak", "if-cg", "magic", "datamodels-ridge", "data-shapley", "airrep"],
        "metrics": [
            "lds",
            "loo",
            "mislabel",
            "counterfactual",
            "data-support",
            "tail-patch",
            "stability",
            "randomisation",
            "label-randomisation",
            "agreement",
        ],
    }
    return list(Plan(load_benchmark(REPOSITORY, asked)).graph.nodes.values())


def test_a_job_parses_exactly_the_specification_that_the_plan_built(nodes: list[Node]) -> None:
    elsewhere = {
        "adopt",
        "adopt_models",
        "train_script",
        "retrain_script",
    }  # no such setting is in the repository
    assert {node.step for node in nodes} == {*SPECS} - elsewhere
    for node in nodes:
        stored = json.loads(json.dumps(node.key_content()))
        assert parse(type(node.spec), stored["spec"]) == node.spec, node.path
        assert parse(node.spec.inputs_type, stored["inputs"]) == node.named_inputs, node.path


def test_a_specification_cannot_be_changed(nodes: list[Node]) -> None:
    for node in nodes:
        with pytest.raises(AttributeError):
            node.spec.engine = Engine(threads=7)  # type: ignore[misc]


def test_specifications_of_adopted_scores_are_parsed_too() -> None:
    spec = AdoptSpec(
        setting="toy",
        method="votes",
        family="external",
        needs=("data",),
        members=1,
        params={},
        queries=QueriesConfig(3, 4),
    )
    assert parse(AdoptSpec, json.loads(json.dumps(plain(spec)))) == spec


def test_a_field_that_a_specification_does_not_have_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="DataInputs has no field 'dta'"):
        parse(DataInputs, {"dta": "results/toy/data/train.safetensors"})
    with pytest.raises(TypeError, match="missing"):
        parse(AttributeSpec, {"setting": "toy"})


def test_paths_of_inputs_are_listed_once_in_the_order_of_the_fields() -> None:
    inputs = AttributeInputs(
        data="d", features={"gradients": ("g0", "g1")}, ensemble=("e",), scores={"trak": "t", "again": "g0"}
    )
    assert paths_of(inputs) == ["d", "g0", "g1", "e", "t"]

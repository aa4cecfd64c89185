"""Manifests give back the specification of the step that made an artefact."""

from __future__ import annotations

from pathlib import Path

import pytest

from proponent.config.benchmark import load_benchmark
from proponent.config.digests.keys import plain
from proponent.config.setting_schema import QueriesConfig
from proponent.config.specifications.method_specs import AdoptSpec, AttributeSpec, MethodSpec
from proponent.config.specifications.training_specs import DataSpec
from proponent.errors import UserError
from proponent.plan.run_plan import Plan
from proponent.steps.io.recorded_spec import recorded_spec
from proponent.steps.publish import params_of
from proponent.store.manifest import Manifest

SCORES = "results/digits-lr/scores/{}.safetensors"
REPOSITORY = Path(__file__).parents[2]


def recorded(spec: MethodSpec | DataSpec) -> Manifest:
    return Manifest(SCORES.format("mine"), "key", "0" * 64, 1, step=spec.step, spec=plain(spec))


@pytest.fixture(scope="module")
def trak() -> AttributeSpec:
    plan = Plan(load_benchmark(REPOSITORY, {"settings": ["digits-lr"], "methods": ["trak-10"]}))
    spec = plan.graph.nodes[SCORES.format("trak-10")].spec
    assert isinstance(spec, AttributeSpec)
    return spec


ADOPTED = AdoptSpec(
    setting="digits-lr",
    method="votes",
    family="external",
    needs=("data",),
    members=1,
    params={},
    queries=QueriesConfig(1, 1),
)


def test_a_manifest_gives_back_the_specification_as_it_was(trak: AttributeSpec) -> None:
    assert recorded_spec(recorded(trak), AttributeSpec) == trak
    assert recorded_spec(recorded(trak), MethodSpec) == trak


def test_a_manifest_of_another_step_or_version_is_refused(trak: AttributeSpec) -> None:
    with pytest.raises(UserError, match="was made by 'attribute'"):
        recorded_spec(recorded(trak), DataSpec)
    old = recorded(trak)
    old.spec = {**old.spec, "jitter": 0.1}
    with pytest.raises(
        UserError, match=r"its manifest is of another version \(AttributeSpec has no field 'jitter'\)"
    ):
        recorded_spec(old, AttributeSpec)


def test_the_tracked_parameters_are_the_chosen_hyper_parameters_and_the_average(trak: AttributeSpec) -> None:
    manifest = recorded(trak)
    manifest.details = {"hyper_parameters": {"damping": 10.0}}
    assert params_of(manifest) == {"family": "trak", "members": "10", "combine": "mean", "damping": "10.0"}


def test_scores_of_a_rule_of_the_users_own_can_be_tracked_too() -> None:
    assert params_of(recorded(ADOPTED)) == {"family": "external", "members": "1"}

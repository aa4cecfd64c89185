"""Methods that learn from retrainings: their inputs, what they are charged, and where they cannot run."""

from __future__ import annotations

import pytest

from proponent.config.benchmark import load_benchmark
from proponent.errors import UserError
from proponent.plan.run_plan import Plan
from workflow.checkout import Checkout, make_checkout

TUNE = "results/toy/ground_truth/tune.safetensors"
FIT = "results/toy/ground_truth/fit.safetensors"


@pytest.fixture
def laid_out(tmp_path) -> Checkout:
    """A checkout with a ``fit`` design beside the two that evaluate."""
    checkout = make_checkout(tmp_path / "checkout")
    checkout.edit(
        "configs/settings/toy.yaml",
        "loo: {",
        "fit: {count: 30, seeds: 1}, permutations: {count: 10, fraction: 0.25}, loo: {",
    )
    return checkout


def plan(checkout: Checkout, *methods: str) -> Plan:
    return Plan(load_benchmark(checkout.root, {"methods": list(methods)}))


def test_retrainings_come_from_the_fit_design_and_tuning_from_one_of_its_own(laid_out) -> None:
    inputs = plan(laid_out, "datamodels-ridge").inputs("results/toy/scores/datamodels-ridge.safetensors")
    assert inputs == ["results/toy/data/train.safetensors", FIT, TUNE]


@pytest.mark.slow
def test_retrainings_that_were_learned_from_are_charged_and_no_others(laid_out) -> None:
    made = plan(laid_out, "datamodels-ridge", "datamodels-prior", "trak")
    shares = {
        name: made.graph.nodes[f"results/toy/metrics/{name}.json"].content["shares"]
        for name in made.scores["toy"]
    }
    retrained = {FIT: 1.0} | {
        f"results/toy/ground_truth/shards/fit-{shard:04d}.safetensors": 1.0 for shard in range(2)
    }
    assert shares["datamodels-ridge"] == {
        "results/toy/scores/datamodels-ridge.safetensors": 1.0,
        "results/toy/data/train.safetensors": 1.0,
        **retrained,
    }
    both = shares["datamodels-prior"]
    assert both.pop("results/toy/scores/datamodels-prior.safetensors") == 1.0
    alone = {path: share for path, share in shares["trak"].items() if "/scores/" not in path}
    assert both == {**alone, **retrained}
    assert not any("ground_truth" in path for path in alone)
    tuned_on = [f"results/toy/ground_truth/shards/tune-{shard:04d}.safetensors" for shard in range(1)]
    assert all(
        made.graph.nodes[f"results/toy/metrics/{name}.json"].content["tuned_on"] == tuned_on
        for name in shares
    )
    untuned = plan(laid_out, "random", "banzhaf")
    assert all(
        untuned.graph.nodes[f"results/toy/metrics/{name}.json"].content["tuned_on"] == []
        for name in ("random", "banzhaf")
    )


def test_a_setting_without_retrainings_to_learn_from_leaves_the_method_out(laid_out) -> None:
    laid_out.edit("configs/settings/toy.yaml", "fit: {count: 30, seeds: 1}, ", "")
    reason = "toy/datamodels needs retrainings, and configs/settings/toy.yaml has no design 'fit'"
    made = plan(laid_out, "random", "datamodels")
    assert made.left_out == [reason]
    with pytest.raises(UserError, match=reason):
        made.inputs("results/toy/scores/datamodels.safetensors")


def test_orders_are_cut_into_shards_by_prefix(laid_out) -> None:
    """Ten orders of four prefixes are forty retrainings, two shards of twenty."""
    made = plan(laid_out, "data-shapley")
    truth = "results/toy/ground_truth/permutations.safetensors"
    assert made.inputs("results/toy/scores/data-shapley.safetensors")[1:] == [truth]
    assert len(made.inputs(truth)) == 1 + 2
    assert made.graph.nodes["results/toy/metrics/data-shapley.json"].content["shares"][truth] == 1.0


@pytest.fixture
def mixed(laid_out) -> Checkout:
    laid_out.edit("configs/methods/datamodels-mixed.yaml", "[trak-20-path, if-cg, kfac]", "[trak-2, if-cg]")
    return laid_out


def test_a_method_that_starts_from_scores_waits_for_them_and_pays_for_each_once(mixed) -> None:
    made = plan(mixed, "datamodels-mixed", "if-cg", "trak-2")
    scores = "results/toy/scores/datamodels-mixed.safetensors"
    others = [f"results/toy/scores/{name}.safetensors" for name in ("if-cg", "trak-2")]
    assert made.inputs(scores) == ["results/toy/data/train.safetensors", FIT, TUNE, *others]
    spec = made.graph.nodes["results/toy/metrics/datamodels-mixed.json"].content
    own = {name: made.graph.nodes[f"results/toy/metrics/{name}.json"].content for name in ("if-cg", "trak-2")}
    for path in {*own["if-cg"]["shares"], *own["trak-2"]["shares"]}:
        asked = [found["shares"].get(path, 0.0) for found in own.values()]
        assert spec["shares"][path] == max(asked), path
    ensemble = "results/toy/ensemble/shard-000.json"
    assert own["if-cg"]["shares"][ensemble] < own["trak-2"]["shares"][ensemble]
    assert spec["shares"][FIT] == 1.0
    assert spec["tuned_on"] == own["trak-2"]["tuned_on"]


@pytest.mark.slow
def test_scores_that_are_not_made_leave_the_method_out(mixed) -> None:
    reason = "toy/datamodels-mixed needs the scores of 'trak-2': add it to the methods"
    assert plan(mixed, "if-cg", "datamodels-mixed").left_out == [reason]
    mixed.edit("configs/methods/datamodels-mixed.yaml", "[trak-2, if-cg]", "[trak-50, if-cg]")
    said = plan(mixed, "if-cg", "datamodels-mixed", "trak-50").left_out
    assert "toy/datamodels-mixed needs the scores of 'trak-50', which cannot run there" in said


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ("[if-cgg]", "scores: no method 'if-cgg' in configs/methods/; did you mean 'if-cg'"),
        ("[datamodels-mixed]", "scores names 'datamodels-mixed', which starts from scores itself"),
        ("[]", "'scores' must name other methods if the method needs 'scores', and be left out otherwise"),
    ],
)
def test_scores_to_start_from_are_those_of_other_methods(mixed, scores: str, said: str) -> None:
    mixed.edit("configs/methods/datamodels-mixed.yaml", "[trak-2, if-cg]", scores)
    with pytest.raises(UserError, match=r"configs/methods/datamodels-mixed\.yaml") as caught:
        plan(mixed, "if-cg", "datamodels-mixed")
    assert said in str(caught.value)


@pytest.mark.slow
def test_a_mixture_runs_and_follows_the_scores_that_it_starts_from(mixed) -> None:
    asked = {"methods": ["datamodels-mixed", "if-cg", "trak-2"], "metrics": ["lds"]}
    target = "results/toy/metrics/datamodels-mixed.json"
    mixed.make(target, **asked)
    first = mixed.bytes_of("toy/scores/datamodels-mixed.safetensors")
    assert -1 < mixed.metrics("datamodels-mixed")["lds"]["value"] <= 1
    mixed.edit("configs/methods/if-cg.yaml", "checkpoint: 0.25", "checkpoint: 1.0")
    mixed.make(target, **asked)
    assert mixed.bytes_of("toy/scores/datamodels-mixed.safetensors") != first


@pytest.mark.slow
def test_each_runs_and_is_charged_for_its_retrainings(laid_out) -> None:
    names = ["datamodels-prior", "data-shapley", "airrep"]
    laid_out.make(*(f"results/toy/metrics/{name}.json" for name in names), methods=names, metrics=["lds"])
    for name in names:
        assert -1 < laid_out.metrics(name)["lds"]["value"] <= 1
    stored = laid_out.bytes_of("toy/scores/airrep.safetensors")
    assert all(b'"train"' in content[:2000] and b'"query"' in content[:2000] for content in stored.values())


def test_a_method_that_speaks_for_groups_has_one_member(laid_out) -> None:
    laid_out.edit("configs/methods/airrep.yaml", "family:", "members: 2\nfamily:")
    with pytest.raises(UserError, match=r"configs/methods/airrep\.yaml: 'members' must be 1"):
        plan(laid_out, "airrep")

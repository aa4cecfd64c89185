"""Which method runs on which kind of setting is known when the DAG is built, and what is missing is said in one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from proponent.config.benchmark import load_benchmark
from proponent.errors import UserError
from proponent.plan.run_plan import Plan
from workflow.checkout import Checkout, make_checkout

TOY = {
    "dataset": {"factory": "toy.factories:blobs"},
    "model": {"factory": "toy.factories:net"},
    "recipe": {"lr": 0.2, "epochs": 2},
    "ensemble": {"members": 50, "checkpoints": 3},
    "designs": {"subsets": {}, "fit": {}, "permutations": {}},
    "queries": {"tune": 4, "test": 5},
}
KINDS = {
    "everything": {},
    "text": {"inputs": "tokens"},
    "regression": {"task": "regression"},
    "language": {"task": "language-model", "inputs": "tokens"},
    "final-only": {"ensemble": {"members": 50, "checkpoints": 0}},
    "one-member": {"ensemble": {"members": 1, "checkpoints": 3}},
    "no-retrainings": {"designs": {"subsets": {}}},
    "adam": {"recipe": {"optimizer": "adam", "lr": 0.01, "epochs": 2}},
}
LEARN = {
    "datamodels",
    "datamodels-ridge",
    "empirical-influence",
    "banzhaf",
    "airrep",
    "airrep-text",
    "datamodels-prior",
}
CLASSES = {
    "same-label",
    "rps",
    "dualda",
    "knn-shapley",
    "data-oob",
    "lava",
    "airrep",
    "aum",
    "el2n",
    "forgetting",
}
WORDS = {"bm25", "tfidf", "tracin-we", "airrep-text"}
AVERAGES = ["trak-10", "if-exact-10", "trak-20", "trak-50"]
"""Methods without a file of their own, whose names end in a number of members."""
ADAM = {"needs the optimizer adam or adamw, and .* has sgd": {"source-adam"}}
REFUSED = {
    "everything": {"needs 'inputs: tokens', and .* has numbers": WORDS, **ADAM},
    "text": ADAM,
    "adam": {"needs the optimizer sgd, and .* has adam": {"source", "source-fast"}},
    "regression": {
        "needs the task classification, and .* has regression": CLASSES,
        "needs 'inputs: tokens', and .* has numbers": WORDS,
    },
    "language": {"needs the task classification, and .* has language-model": CLASSES},
    "final-only": {
        "needs checkpoints along training, and .* saves none": {
            "tracin",
            "tracin-last",
            "tracin-we",
            "source",
            "forgetting",
        },
        "needs 'inputs: tokens', and .* has numbers": WORDS - {"tracin-we"},
    },
    "one-member": {
        "needs 10 ensemble members, and .* has 1": {"trak-10", "if-exact-10"},
        "needs 20 ensemble members, and .* has 1": {"trak-20", "trak-20-path", "datamodels-prior-20-path"},
        "needs 50 ensemble members, and .* has 1": {"trak-50"},
        "needs the scores of 'trak-20-path', which cannot run there": {"datamodels-mixed"},
    },
    "no-retrainings": {
        "needs retrainings, and .* has no design 'fit'": LEARN,
        "needs permutations, and .* has no design 'permutations'": {"data-shapley", "beta-shapley"},
    },
}
"""By kind of setting, what is said of some methods; of all others, that they run or need something that is named."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    checkout = make_checkout(tmp_path_factory.mktemp("kinds") / "checkout")
    for kind, own in KINDS.items():
        (checkout.root / f"configs/settings/{kind}.yaml").write_text(yaml.safe_dump(TOY | own))
    return checkout


def names(checkout: Checkout) -> list[str]:
    return sorted([*AVERAGES, *(path.stem for path in (checkout.root / "configs/methods").glob("*.yaml"))])


@pytest.fixture(scope="module")
def plan(checkout: Checkout) -> Plan:
    asked = {"settings": list(KINDS), "methods": names(checkout), "metrics": ["lds"]}
    return Plan(load_benchmark(checkout.root, asked))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_run_is_left_out_for_a_reason_in_one_line(
    kind: str, plan: Plan, checkout: Checkout
) -> None:
    said = {
        line.split(" ")[0].partition("/")[2]: line.partition(" ")[2]
        for line in plan.left_out
        if line.startswith(f"{kind}/")
    }
    assert sorted([*said, *plan.scores[kind]]) == names(checkout), "each either runs or is left out"
    for reason, methods in REFUSED[kind].items():
        for method in methods:
            pattern = reason.replace(".*", re.escape(f"configs/settings/{kind}.yaml"))
            assert re.fullmatch(pattern, said[method]), f"{method}: {said[method]}"
    for line in said.values():
        assert re.match(r"needs \S", line)
        assert "\n" not in line
    for method, reason in said.items():
        with pytest.raises(UserError, match=re.escape(reason)):
            plan.inputs(f"results/{kind}/scores/{method}.safetensors")


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_refused_without_need(kind: str, plan: Plan) -> None:
    """These ask for gradients and data alone, and run everywhere."""
    assert {"random", "graddot", "gradcos", "trak", "similarity-cosine"} <= set(plan.scores[kind])


def test_candidates_that_ask_for_equal_labels_are_for_classification(plan: Plan) -> None:
    """What is no class has no other class to be an opponent of."""
    tried = {
        kind: plan.graph.nodes[f"results/{kind}/scores/similarity-dot.safetensors"].content["candidates"]
        for kind in ("everything", "regression", "language")
    }
    assert {candidate["labels"] for candidate in tried["everything"]} == {"ignored", "signed"}
    for kind in ("regression", "language"):
        assert {candidate["labels"] for candidate in tried[kind]} == {"ignored"}


def with_method(checkout: Checkout, name: str, content: dict) -> Plan:
    """Return the plan of a setting and one more method."""
    path = checkout.root / f"configs/methods/{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    asked = {
        "settings": ["everything", "regression", "final-only"],
        "methods": ["random", name],
        "metrics": ["lds"],
    }
    try:
        return Plan(load_benchmark(checkout.root, asked))
    finally:
        path.unlink()


def test_a_parameter_that_asks_for_equal_labels_needs_classes(checkout: Checkout) -> None:
    plan = with_method(checkout, "signed", {"family": "similarity", "params": {"labels": "signed"}})
    assert "signed" in plan.scores["everything"]
    assert "signed" not in plan.scores["regression"]
    assert (
        "regression/signed needs the task classification for its labels, and configs/settings/regression.yaml "
        "has regression"
    ) in plan.left_out


@pytest.mark.slow
def test_an_average_over_checkpoints_needs_checkpoints(checkout: Checkout) -> None:
    plan = with_method(checkout, "along", {"family": "graddot", "checkpoints": [0.25, 1.0]})
    spec = plan.graph.nodes["results/everything/scores/along.safetensors"].content
    assert spec["checkpoints"] == [0.25, 1.0]
    assert (
        "final-only/along needs checkpoints along training, and configs/settings/final-only.yaml saves none"
        in (plan.left_out)
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"family": "graddot", "checkpoints": [0.0]}, r"checkpoints must be in \(0, 1\], not \[0.0\]"),
        (
            {"family": "same_label", "checkpoints": [0.5]},
            "needs a method with a hyper-parameter 'checkpoint'",
        ),
        (
            {"family": "graddot", "checkpoints": [0.5], "params": {"checkpoint": 1.0}},
            "give 'checkpoints' or the hyper-parameter 'checkpoint', not both",
        ),
        ({"family": "airrep", "members": 2}, "'members' must be 1"),
        ({"family": "airrep", "checkpoints": [0.5]}, "'checkpoints' empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_averages_that_make_no_sense_are_refused(checkout: Checkout, content: dict, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        with_method(checkout, "mine", content)
    assert "\n" not in str(caught.value)
    assert "configs/methods/mine.yaml" in str(caught.value)


@pytest.mark.slow
def test_a_number_behind_a_name_averages_the_method_over_that_number_of_members(checkout: Checkout) -> None:
    names = ["graddot-10", "trak-projected-3", "kfac-2"]
    asked = {"settings": ["everything", "one-member"], "methods": names, "metrics": ["lds"]}
    with pytest.raises(UserError, match="no method can run on setting 'one-member'"):
        Plan(load_benchmark(checkout.root, asked))
    plan = Plan(load_benchmark(checkout.root, asked | {"settings": ["everything"]}))
    spec = plan.graph.nodes["results/everything/scores/graddot-10.safetensors"].content
    assert (spec["members"], spec["tune_members"], spec["family"]) == (10, 2, "graddot")
    assert len(spec["candidates"]) == 4
    assert plan.graph.nodes["results/everything/scores/trak-projected-3.safetensors"].content["members"] == 3
    assert plan.methods_of("ekfac") == "kfac-2"


def test_a_method_that_a_setting_leaves_out_is_left_out_as_an_average_too() -> None:
    asked = {"settings": ["mnist-mlp"], "methods": ["random", "if-exact", "if-exact-5"]}
    plan = Plan(load_benchmark(Path(__file__).parents[2], asked))
    assert plan.scores["mnist-mlp"] == ["random"]
    assert [line.split(" needs 45 GiB")[0] for line in plan.left_out] == [
        "mnist-mlp/if-exact",
        "mnist-mlp/if-exact-5",
    ]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("grabdot-10", "no method 'grabdot-10' in configs/methods/; did you mean"),
        ("trak-20-path-5", "configs/methods/trak-20-path.yaml as trak-20-path-5: it has 20 members already"),
        ("same-label-10", "'members' must be 1, because .*same_label.* uses no member"),
        ("datamodels-2", "'members' must be 1, because .*datamodels.* uses no member"),
        ("airrep-2", "'members' must be 1"),
        ("graddot-0", "members must be above 0"),
    ],
)
def test_averages_that_there_cannot_be_are_refused_by_name(checkout: Checkout, name: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_benchmark(checkout.root, {"settings": ["everything"], "methods": [name]})


def test_every_method_has_a_rule(checkout: Checkout) -> None:
    rules = "".join(path.read_text() for path in Path(checkout.root, "workflow/rules/methods").glob("*.smk"))
    for name in sorted(set(names(checkout)) - set(AVERAGES)):
        family = yaml.safe_load((checkout.root / f"configs/methods/{name}.yaml").read_text())["family"]
        assert f'methods_of("{family}")' in rules, name

"""Metrics that need more than retrainings on thumbnails: planted truth, labels, repeated scores, and all methods' scores."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator

import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy.stats import spearmanr

from steps.planned_jobs import make
from steps.thumbnails import Thumbnails, thumbnails

pytestmark = pytest.mark.slow
SMALL = {"dataset": {"args": {"n_train": 60}}, "recipe": {"epochs": 3}, "queries": {"tune": 2, "test": 40}}
CHANGES = {
    "digits-lr": SMALL | {"planted": {"shortcut": {"label": 3, "pixels": 3}}},
    "digits-mlp": SMALL
    | {
        "model": {"args": {"n_classes": 5}},
        "planted": {"subclass": {"groups": [[0, 5], [1, 6], [2, 7], [3, 8], [4, 9]]}},
    },
    "digits-mlp-duplicates": SMALL,
}
METHODS = {"graddot": {}, "similarity-cosine": {}, "same-label": {}, "if-cg": {}}
METRICS = (
    *("same-class", "subclass", "shortcut", "duplicates", "cardinality", "sparsity"),
    *("stability", "randomisation", "label-randomisation", "agreement"),
)
STEPS = (
    "data",
    "check",
    "shuffle_labels",
    "train",
    "retrain",
    "ground_truth",
    "shuffle",
    "featurize",
    "attribute",
)
EVERYWHERE = {"same_class_10", "cardinality_10", "sparsity_90"}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Iterator[Thumbnails]:
    """Metrics of two methods on each setting, and everything that they are made from."""
    root = tmp_path_factory.mktemp("metrics") / "checkout"
    with thumbnails(root, CHANGES, METHODS, METRICS) as found:
        for setting in CHANGES:
            for method in METHODS:
                found.make(setting, *STEPS, method=method)
            for method in ("graddot", "same-label"):
                found.make(setting, "repeat", "evaluate", method=method)
        yield found


def metrics(made: Thumbnails, setting: str, method: str = "graddot") -> dict[str, dict]:
    return json.loads((made.root / f"results/small-{setting}/metrics/{method}.json").read_text())["metrics"]


@pytest.mark.parametrize(
    ("setting", "own"),
    [
        ("digits-lr", {"shortcut_auprc", "shortcut_group_auprc"}),
        ("digits-mlp", {"subclass_10"}),
        ("digits-mlp-duplicates", {"duplicates_mrr", "duplicates_recall_10"}),
    ],
)
def test_a_setting_has_the_metrics_that_its_data_allow(made, setting, own):
    assert metrics(made, setting).keys() == EVERYWHERE | own | {
        "stability",
        "randomisation",
        "label_randomisation",
    }
    assert metrics(made, setting, "same-label").keys() == EVERYWHERE | own, "it has no model to repeat it for"


def test_the_test_queries_are_evaluated_alone(made):
    found = metrics(made, "digits-mlp")
    assert {entry["n_queries"] for entry in found.values()} == {40}
    folder = made.root / "results/small-digits-mlp"
    scores = load_file(folder / "scores/graddot.safetensors")["scores"][2:]
    truth = load_file(folder / "data/planted.safetensors")
    order = np.argsort(-scores, axis=1)[:, :10]
    agree = truth["subclass"][order] == truth["subclass_queries"][2:, None]
    assert found["subclass_10"]["value"] == pytest.approx(agree.mean())


def test_copies_have_the_gradients_of_their_originals(made):
    assert metrics(made, "digits-mlp-duplicates")["duplicates_mrr"]["value"] == pytest.approx(1.0)


def test_stability_compares_the_first_member_with_the_second(made):
    folder = made.root / "results/small-digits-mlp/scores"
    first, second = (
        load_file(folder / name / "graddot.safetensors")["scores"][2:] for name in ("", "members")
    )
    expected = np.mean([spearmanr(a, b).statistic for a, b in zip(first, second, strict=True)])
    assert metrics(made, "digits-mlp")["stability"]["value"] == pytest.approx(expected, abs=1e-6)
    assert 0 < expected < 1


def test_shuffled_weights_are_those_of_the_member_in_another_order(made):
    folder = made.root / "results/small-digits-mlp/ensemble"
    own, shuffled = (
        load_file(folder / name / "member-000/final.safetensors") for name in ("", "shuffled_weights")
    )
    assert own.keys() == shuffled.keys()
    for name, values in own.items():
        assert (np.sort(values.ravel()) == np.sort(shuffled[name].ravel())).all()
        assert (values != shuffled[name]).any()


def test_scores_for_shuffled_weights_are_others(made):
    found = metrics(made, "digits-mlp")["randomisation"]
    assert 0 < found["ci_low"] < found["value"] <= 1


def test_a_member_learns_the_labels_of_other_examples(made):
    folder = made.root / "results/small-digits-mlp"
    own, shuffled = (load_file(folder / f"data/{name}train.safetensors") for name in ("", "shuffled_labels/"))
    assert (own["x"] == shuffled["x"]).all()
    assert (np.sort(own["y"]) == np.sort(shuffled["y"])).all()
    assert (own["y"] != shuffled["y"]).any()
    final = [
        load_file(folder / f"ensemble/{name}member-000/final.safetensors")
        for name in ("", "shuffled_labels/")
    ]
    assert any((final[0][name] != final[1][name]).any() for name in final[0])
    assert 0 < metrics(made, "digits-mlp")["label_randomisation"]["value"] <= 1


def test_repeated_scores_have_the_hyper_parameters_of_the_own_scores_and_cost_the_method_nothing(made):
    folder = made.root / "results/small-digits-mlp"
    manifest = json.loads((folder / "scores/members/graddot.safetensors.manifest.json").read_text())
    assert manifest["spec"]["first"] == 1 and manifest["spec"]["candidates"] == []
    ledger = json.loads((folder / "metrics/graddot.json").read_text())["cost"]["ledger"]
    assert not [path for path in ledger if "/members/" in path or "/shuffled_" in path]


def test_the_agreement_of_all_methods_is_a_table_of_pairs(made):
    nodes = made.nodes
    make(made.root, {path: node for path, node in nodes.items() if "small-digits-lr/" in path}, "correlate")
    rows = list(csv.DictReader((made.root / "results/small-digits-lr/leaderboard/agreement.csv").open()))
    assert len(rows) == len(METHODS) * (len(METHODS) - 1) // 2
    folder = made.root / "results/small-digits-lr/scores"
    a, b = (
        load_file(folder / f"{rows[0][key]}.safetensors")["scores"][2:] for key in ("method_a", "method_b")
    )
    each = [
        0.0 if min(np.ptp(x), np.ptp(y)) == 0 else spearmanr(x, y).statistic
        for x, y in zip(a, b, strict=True)
    ]
    assert float(rows[0]["agreement"]) == pytest.approx(np.mean(each), abs=1e-5)
    assert float(rows[0]["ci_low"]) <= float(rows[0]["agreement"]) <= float(rows[0]["ci_high"])


def test_every_metric_has_a_file_and_says_what_a_good_value_means(made):
    from proponent.config.benchmark import load_benchmark

    configured = load_benchmark(made.root).metrics
    for setting in CHANGES:
        said = {name for config in configured.values() for name in config.meaning}
        assert metrics(made, setting).keys() <= said
    assert all(text.endswith(".") for config in configured.values() for text in config.meaning.values())

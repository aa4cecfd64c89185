"""Suspicious examples of a thumbnail with flipped labels: the order, the evidence and the files."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from proponent import cleaning
from proponent.cleaning import Suspects, equal_inputs, find_suspects, lines_on_gain, lowest
from proponent.cleaning_files import write_files
from proponent.errors import UserError
from proponent.predictions_along_training import probabilities
from steps.planned_jobs import make
from steps.thumbnails import STEPS, Thumbnails, thumbnails

SETTING = "small-digits-lr-noisy"
CHANGES = {
    "digits-lr-noisy": {
        "dataset": {"args": {"n_train": 200}},
        "recipe": {"epochs": 10},
        "queries": {"tune": 20, "test": 40},
    }
}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Iterator[Thumbnails]:
    """Two methods and their summary on 200 digits with twenty flipped labels; two of the digits are equal."""
    root = tmp_path_factory.mktemp("cleaning") / "checkout"
    with thumbnails(root, CHANGES, {"graddot": {}, "random": {}}, ("mislabel",)) as found:
        for method in ("graddot", "random"):
            found.make("digits-lr-noisy", *STEPS, method=method)
        make(root, found.nodes, "summary")
        yield found


@pytest.fixture(scope="module")
def suspects(made) -> Suspects:
    return find_suspects(made.root, SETTING, top=10)


@pytest.fixture(scope="module")
def flipped(made) -> np.ndarray:
    return load_file(made.root / f"results/{SETTING}/data/noisy_labels.safetensors")["noisy_labels"]


def test_the_method_that_found_most_flipped_labels_orders_the_examples(made, suspects):
    assert suspects.method == "graddot"
    assert re.fullmatch(rf"best mislabel_found_10 of 2 methods on {SETTING}: 0\.\d+", suspects.because)
    own = load_file(made.root / f"results/{SETTING}/scores/graddot.safetensors")["self_influence"]
    values = [entry.suspicion for entry in suspects.entries]
    assert values == sorted(values, reverse=True)
    assert values == pytest.approx([own[entry.example] for entry in suspects.entries])
    assert sorted(entry.example for entry in suspects.entries) == list(range(200))


def test_flipped_labels_come_first_and_the_model_says_otherwise(suspects, flipped):
    first = [entry.example for entry in suspects.entries[:40]]
    assert flipped[first].sum() >= 0.8 * flipped.sum()
    wrong = [entry for entry in suspects.entries[:20] if flipped[entry.example]]
    assert all(entry.p_label <= entry.p_predicted for entry in suspects.entries)
    assert np.mean([entry.predicted != entry.label for entry in wrong]) > 0.8


def test_opponents_of_a_flipped_label_have_another_one(made, suspects, flipped):
    y = load_file(made.root / f"results/{SETTING}/data/train.safetensors")["y"]
    assert suspects.detailed == 10 and not suspects.without_details
    shares = []
    for entry in suspects.entries[:10]:
        assert 0 < len(entry.opponents) <= 5 and entry.example not in (*entry.opponents, *entry.proponents)
        if flipped[entry.example]:
            shares.append(np.mean(y[entry.opponents] != entry.label))
    assert np.mean(shares) > 0.9
    assert not any(entry.proponents or entry.opponents for entry in suspects.entries[10:])


def test_harmed_queries_are_test_queries_with_negative_scores(made, suspects):
    scores = load_file(made.root / f"results/{SETTING}/scores/graddot.safetensors")["scores"]
    for entry in suspects.entries[:5]:
        assert all(query >= 20 for query in entry.harmed)
        values = scores[entry.harmed, entry.example]
        assert (values < 0).all() and (np.diff(values) >= 0).all()
        assert values[0] == scores[20:, entry.example].min()


def test_probabilities_are_means_over_members_and_checkpoints(made, suspects):
    folder = made.root / f"results/{SETTING}"
    data = load_file(folder / "data/train.safetensors")
    found = []
    for path in sorted(folder.glob("ensemble/member-*/*.safetensors")):
        weights = load_file(path)
        (weight,) = (value for value in weights.values() if value.ndim == 2)
        (bias,) = (value for value in weights.values() if value.ndim == 1)
        logits = (data["x"] @ weight.T + bias).astype(np.float64)
        found.append(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    mean = np.mean(found, axis=0)
    for entry in suspects.entries[::37]:
        assert entry.p_label == pytest.approx(mean[entry.example, data["y"][entry.example]], abs=1e-5)
        assert entry.predicted == mean[entry.example].argmax()


def test_the_table_has_all_examples_and_the_page_the_first_ones(made, suspects):
    table, page = write_files(made.root, suspects, top=10)
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert [int(row["rank"]) for row in rows] == list(range(1, 201))
    assert rows[0]["opponents"].split() == [str(row) for row in suspects.entries[0].opponents]
    text = page.read_text(encoding="utf-8")
    assert text.count("<article>") == 10
    assert text.count('src="data:image/png;base64,') > 100
    assert f"labelled “{rows[0]['label']}”, the model says “{rows[0]['predicted']}”" in text


def test_a_method_without_self_influence_orders_by_the_mean_score(made):
    found = find_suspects(made.root, SETTING, "random", top=3)
    assert (found.method, found.because, found.ordered_by) == ("random", "", "mean score")
    scores = load_file(made.root / f"results/{SETTING}/scores/random.safetensors")["scores"]
    assert found.entries[0].example == scores[20:].mean(axis=0).argmin()


@pytest.mark.parametrize(
    ("setting", "method", "reason"),
    [
        ("small-digit-lr-noisy", None, "there are no results; did you mean 'small-digits-lr-noisy'"),
        ("digits-mlp", None, "there are no results; run snakemake results/summaries/digits-mlp.json"),
        (SETTING, "gradot", "no scores of a method 'gradot'; did you mean 'graddot'"),
    ],
)
def test_what_is_missing_is_named_in_one_line(made, setting, method, reason):
    with pytest.raises(UserError, match=re.escape(reason)) as refusal:
        find_suspects(made.root, setting, method)
    assert "\n" not in str(refusal.value)


def test_without_metrics_the_first_method_with_self_influence_is_chosen(made, monkeypatch):
    monkeypatch.setattr(cleaning, "_BY", ())
    found = find_suspects(made.root, SETTING, top=1)
    assert found.method == "graddot"
    assert "there are no results of small-digits-lr-noisy-noisy" in found.because


def test_the_noisy_twin_decides_where_a_setting_has_no_flipped_labels(made, tmp_path):
    class Twin:
        setting, methods = "own", ["graddot", "random"]

    documents = [
        {"method": name, "metrics": {"mislabel_found_10": {"value": value}}}
        for name, value in (("graddot", 0.4), ("random", 0.6), ("trak", 0.9))
    ]
    path = tmp_path / "results/own-noisy/leaderboard/ranking.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"documents": documents}))
    chosen, because = cleaning.choose_method(tmp_path, Twin())
    assert (chosen, because) == ("random", "best mislabel_found_10 of 2 methods on own-noisy: 0.600")


def test_the_gain_by_cleaning_is_printed_or_the_command_that_finds_it(made, tmp_path):
    (line,) = lines_on_gain(made.root, SETTING, "graddot")
    assert "'settings=[small-digits-lr-noisy]' 'methods=[graddot]' 'metrics=[cleaning-gain]'" in line
    entry = {"value": 0.02, "ci_low": -0.004, "ci_high": 0.03, "random": -0.001, "n_removed": 20}
    entry |= {"utility": "accuracy", "before": 0.9, "after": 0.92}
    path = tmp_path / "results/own/metrics/graddot.json"
    path.parent.mkdir(parents=True)
    fewer = entry | {"n_removed": 10, "after": 0.91, "value": 0.01}
    found = {"mislabel_auc": {}, "cleaning_gain_10": entry, "cleaning_gain_5": fewer}
    path.write_text(json.dumps({"metrics": found}))
    assert lines_on_gain(tmp_path, "own", "graddot") == [
        "without the first 5 % (10 examples): accuracy 0.900 → 0.910, a gain of +0.010 [-0.004, +0.030]; without as many "
        "random examples -0.001",
        "without the first 10 % (20 examples): accuracy 0.900 → 0.920, a gain of +0.020 [-0.004, +0.030]; without as many "
        "random examples -0.001",
    ]


@pytest.mark.parametrize(
    "x",
    [
        torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]]),
        (torch.tensor([1, 2, 1]), torch.tensor([[0.5], [0.5], [0.5]])),
        {"ids": torch.tensor([[1, 0], [1, 1], [1, 0]]), "mask": torch.tensor([[1], [1], [1]])},
    ],
    ids=["tensor", "tuple", "dictionary"],
)
def test_equal_inputs_are_found_in_every_form(x):
    assert equal_inputs(x) == {0: [2], 2: [0]}


def test_the_lowest_values_are_negative_ones():
    assert lowest(np.array([0.5, -1.0, 0.0, -3.0, -2.0]), 2) == [3, 4]
    assert lowest(np.array([0.5, -1.0, 0.0])) == [1]


def test_probabilities_of_both_kinds_of_classifiers():
    logits = torch.randn(5, 1)
    both = torch.cat([torch.zeros(5, 1), logits], dim=1)
    assert torch.allclose(probabilities(logits, "binary"), probabilities(both, "classification"), atol=1e-6)


def test_cleanlab_orders_by_the_probability_of_the_label():
    pytest.importorskip("cleanlab", reason="needs cleanlab: pip install -e '.[peers]'")
    labels, values = np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]])
    assert cleaning.cleanlab_ranks(labels, values).tolist() == [3, 1, 2]


def test_without_cleanlab_there_are_no_ranks(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cleanlab.rank", None)
    assert cleaning.cleanlab_ranks(np.array([0]), np.array([[1.0, 0.0]])) is None

"""Settings on text, music and pairs on thumbnails: some tens of examples and two members, from the data to the LDS."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from proponent.config.benchmark import load_benchmark
from proponent.features.storage_choice import choose_storage
from proponent.publish.examples import as_text, notes_of, piano_roll
from proponent.publish.figures import proponents_figure
from proponent.settings.cards import read_card
from proponent.settings.datasets.country_facts import PACKAGE
from registry_data import need_package
from steps.thumbnails import thumbnails
from workflow.checkout import REPOSITORY

pytestmark = pytest.mark.slow
QUICK = {"epochs": 1, "batch_size": 8}
CHANGES = {
    "spam-words": {"dataset": {"args": {"n_train": 40, "n_query": 10}}},
    "spam-words-shortcut": {
        "dataset": {"args": {"n_train": 60, "n_query": 10}},
        "planted": {"shortcut": {"fraction": 0.1, "token": 1000}},
    },
    "newsgroups-minilm": {"dataset": {"args": {"n_train": 16, "n_query": 10, "length": 8}}},
    "shakespeare-gpt": {"dataset": {"args": {"n_train": 16, "n_query": 10, "length": 24}}},
    "facts-seq2seq": {"dataset": {"args": {"n_countries": 4, "n_query": 10}}},
    "chorales-transformer": {"dataset": {"args": {"n_train": 16, "n_query": 10, "length": 24}}},
    "clipart-clip": {"dataset": {"args": {"n_train": 16, "n_query": 10, "others": 3}}},
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    changes = {name: {"recipe": QUICK, **changed} for name, changed in CHANGES.items()}
    with thumbnails(
        tmp_path_factory.mktemp("texts") / "checkout", changes, {"graddot": {}, "bm25": {}}
    ) as found:
        yield found


@pytest.mark.parametrize("setting", CHANGES)
def test_a_setting_runs_from_its_data_to_the_lds(small, setting):
    if setting == "newsgroups-minilm":
        pytest.importorskip("transformers", reason="needs the extra [text]")
    lds = small.lds(setting)
    assert -1 <= lds["ci_low"] <= lds["value"] <= lds["ci_high"] <= 1
    folder = small.make(setting)
    scores = load_file(folder / "scores/graddot.safetensors")["scores"]
    assert scores.isfinite().all() and scores.abs().sum(0).gt(0).all()
    read_card(json.loads((folder / "data/description.json").read_text())["card"])
    names = json.loads((folder / "data/token_names.json").read_text())
    train = load_file(folder / "data/train.safetensors")
    tokens = train.get("input_ids", train.get("title", train.get("x")))
    assert tokens.min() >= 0 and tokens.max() < len(names)
    manifest = json.loads((folder / "data/train.safetensors.manifest.json").read_text())
    assert f"results/small-{setting}/data/token_names.json" in {part["path"] for part in manifest["parts"]}


@pytest.mark.parametrize("setting", CHANGES)
def test_gradients_of_all_examples_fit_into_the_default_memory(small, setting):
    """Sizes of the thumbnail, times those of the setting; otherwise every method with gradients would be left out."""
    if setting == "newsgroups-minilm":
        pytest.importorskip("transformers", reason="needs the extra [text]")
    folder = small.make(setting, "data", "check")
    sizes = json.loads((folder / "check.json").read_text())["sizes"]
    described = json.loads((folder / "data/description.json").read_text())
    full = load_benchmark(REPOSITORY, {"settings": [setting], "methods": ["random"]})
    args, own = full.settings[setting].dataset.args, CHANGES[setting]["dataset"]["args"]
    (number,) = {"n_train", "n_countries"} & set(args)
    rows = described["n_train"] * args[number] // own[number] + args["n_query"]
    rows *= full.settings[setting].ensemble.checkpoints + 1
    longer = args.get("length", 1) // own.get("length", args.get("length", 1))
    each = full.config.compute.memory_mib // full.config.compute.members_per_job // 2
    found = choose_storage(rows, sizes["factored"] * longer, sizes["last"] * longer, sizes["itemsize"], each)
    assert found.dim == 0 or found.dim >= 1024


@pytest.mark.parametrize("setting, drawn", [("shakespeare-gpt", "text"), ("chorales-transformer", "picture")])
def test_figures_show_texts_and_piano_rolls(small, setting, drawn, monkeypatch):
    cases = []
    draw = proponents_figure.draw
    monkeypatch.setattr(proponents_figure, "draw", lambda *given: cases.extend(given[2]) or draw(*given))
    small.lds(setting)
    assert (small.figures(setting) / f"proponents-small-{setting}.png").exists()
    folder = small.make(setting) / "data"
    names = json.loads((folder / "token_names.json").read_text())
    rows = load_file(folder / "query.safetensors")["x"]
    for case in cases:
        row = rows[int(case.query.name.removeprefix("query "))]
        assert case.query.text == as_text(row, names) and case.query.label == ""
        if drawn == "picture":
            assert np.array_equal(case.query.picture, piano_roll(notes_of(row, names)))
        else:
            assert case.query.picture is None
    assert len(cases) == 6


def test_truths_of_the_dataset_are_stored_for_the_queries_that_are_used(small):
    facts = small.make("facts-seq2seq", "data") / "data"
    truth = load_file(facts / "planted.safetensors")
    assert truth["fact"].bincount().tolist() == [3] * 20
    queries = load_file(facts / "query.safetensors")
    assert truth["fact_queries"].shape == (10,) == (len(queries["y"]),)
    train = load_file(facts / "train.safetensors")
    for fact, answer in zip(truth["fact_queries"], queries["y"], strict=True):
        assert (train["y"][truth["fact"] == fact] == answer).all()
    mails = load_file(small.make("spam-words", "data") / "data/planted.safetensors")
    assert set(mails) == {"duplicate_of", "subclass", "subclass_queries"}


def test_a_planted_word_is_at_the_beginning_of_some_mails(small):
    folder = small.make("spam-words-shortcut", "data") / "data"
    truth = load_file(folder / "planted.safetensors")
    for part, name, label in (("train", "shortcut", 0), ("query", "shortcut_queries", 1)):
        found = load_file(folder / f"{part}.safetensors")
        assert torch.equal(found["x"][:, 0] == 1000, truth[name])
        assert (found["y"][truth[name]] == label).all() and truth[name].any()


def test_bm25_reads_the_words_of_a_question(small):
    need_package(PACKAGE)
    folder = small.make("facts-seq2seq", "data", "check", "attribute", method="bm25")
    scores = load_file(folder / "scores/bm25.safetensors")["scores"]
    train, query = (
        load_file(folder / f"data/{part}.safetensors")["input_ids"] for part in ("train", "query")
    )
    shared = torch.tensor([[bool(set(q.tolist()) & set(i.tolist()) - {0}) for i in train] for q in query])
    assert torch.equal(scores > 0, shared)

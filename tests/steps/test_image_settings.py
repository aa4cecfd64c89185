"""The settings with images, each on a thumbnail, and their variants with planted truth."""

from __future__ import annotations

import importlib.util
import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from steps.planned_jobs import make
from steps.thumbnails import lds_of_thumbnail, thumbnail
from workflow.checkout import REPOSITORY

FEW_EPOCHS = {"recipe": {"epochs": 2, "batch_size": 16}}


def data(**args):
    return {"dataset": {"args": args}}


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting, changes, row",
    [
        ("fmnist-mlp", data(n_train=40, n_query=10), (784,)),
        ("fmnist2-resnet9", data(n_train=40, n_query=10), (1, 28, 28)),
        ("emoji-cnn", data(n_train=40, n_query=10), (3, 32, 32)),
    ],
)
def test_a_setting_runs_from_its_data_to_the_lds(tmp_path, setting, changes, row):
    with thumbnail(tmp_path, setting, {**FEW_EPOCHS, **changes}) as nodes:
        lds = lds_of_thumbnail(tmp_path, nodes)
    assert -1 <= lds["ci_low"] <= lds["value"] <= lds["ci_high"] <= 1
    found = load_file(tmp_path / "results/thumbnail/data/train.safetensors")
    assert found["x"].shape == (40, *row)


VARIANTS = {
    "fmnist-mlp-noisy": ("noisy_labels", data(n_train=200, n_query=10)),
    "fmnist-mlp-subclass": ("planted", data(n_train=200, n_query=10)),
    "fmnist-mlp-shortcut": ("planted", data(n_train=200, n_query=10)),
    "digits-mlp-duplicates": ("planted", data(n_train=200)),
}


@pytest.mark.slow
@pytest.mark.parametrize("setting", VARIANTS)
def test_a_variant_differs_from_its_setting_in_what_the_stored_truth_tells(tmp_path, setting):
    """The data of both are made, and compared example by example."""
    name, changes = VARIANTS[setting]
    parts = {}
    for which in (setting, setting.rpartition("-")[0]):
        with thumbnail(tmp_path / which, which, changes) as nodes:
            make(tmp_path / which, nodes, *(("data", "check") if which == setting else ("data",)))
        folder = tmp_path / which / "results/thumbnail/data"
        parts[which] = {
            part: load_file(folder / f"{part}.safetensors")
            for part in ("train", "query", name)
            if (folder / f"{part}.safetensors").exists()
        }
    changed, plain = parts[setting], parts[setting.rpartition("-")[0]]
    assert name not in plain
    truth = changed.pop(name)
    same_x = (changed["train"]["x"] == plain["train"]["x"]).flatten(1).all(1)
    same_y = changed["train"]["y"] == plain["train"]["y"]
    if "noisy_labels" in truth:
        assert same_x.all() and torch.equal(~same_y, truth["noisy_labels"])
    elif "subclass" in truth:
        assert same_x.all() and torch.equal(truth["subclass"], plain["train"]["y"])
        assert torch.equal(truth["subclass_queries"], plain["query"]["y"])
        assert torch.equal(changed["train"]["y"], plain["train"]["y"] % 5)
        assert described(tmp_path / setting)["class_names"][0] == "T-shirt/top + Sandal"
    elif "shortcut" in truth:
        assert same_y.all() and torch.equal(~same_x, truth["shortcut"])
        same_query = (changed["query"]["x"] == plain["query"]["x"]).flatten(1).all(1)
        assert torch.equal(~same_query, truth["shortcut_queries"])
    else:
        copies = truth["duplicate_of"] >= 0
        assert torch.equal(~same_x, copies)
        assert torch.equal(changed["train"]["x"][copies], plain["train"]["x"][truth["duplicate_of"][copies]])
    manifest = json.loads(
        (tmp_path / setting / "results/thumbnail/data/train.safetensors.manifest.json").read_text()
    )
    assert f"results/thumbnail/data/{name}.safetensors" in {part["path"] for part in manifest["parts"]}


def described(root):
    return json.loads((root / "results/thumbnail/data/description.json").read_text())


@pytest.mark.slow
def test_the_page_of_settings_reads_the_accuracy_of_a_real_run(tmp_path):
    """The oracle runs the stored members on the stored test queries."""
    spec = importlib.util.spec_from_file_location("settings_page", REPOSITORY / "benchmarks/settings_page.py")
    settings_page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(settings_page)
    changes = {**data(n_train=300), "queries": {"tune": 4, "test": 200}}
    with thumbnail(tmp_path, "digits-mlp", changes) as nodes:
        for step in ("data", "check", "train", "featurize"):
            make(tmp_path, nodes, step)
    folder = tmp_path / "results/thumbnail"
    query = load_file(folder / "data/query.safetensors")
    probabilities = []
    for member in range(2):
        model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        model.load_state_dict(load_file(folder / f"ensemble/member-00{member}/final.safetensors"))
        probabilities.append(model(query["x"][4:]).softmax(1))
    right = (sum(probabilities).argmax(1) == query["y"][4:]).double().mean().item()
    assert 0.5 < right < 1
    assert settings_page.quality(folder, 4) == {"accuracy": pytest.approx(right)}

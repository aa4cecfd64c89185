"""The settings with images, each on a thumbnail, and their variants with planted truth."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from proponent.settings.datasets import mnist5k
from steps.thumbnails import thumbnails
from workflow.checkout import REPOSITORY

pytestmark = pytest.mark.slow
FEW_EPOCHS = {"recipe": {"epochs": 2, "batch_size": 16}}
ROWS = {"fmnist-mlp": (784,), "fmnist2-resnet9": (1, 28, 28), "emoji-cnn": (3, 32, 32)}
TRUTHS = {
    "fmnist-mlp-noisy": "noisy_labels",
    "fmnist-mlp-subclass": "planted",
    "fmnist-mlp-shortcut": "planted",
    "digits-mlp-duplicates": "planted",
}
"""File of the truth of each variant."""


def data(**args):
    return {"dataset": {"args": args}}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    fashion, digits = data(n_train=200, n_query=10), data(n_train=300)
    changes = {
        "fmnist-mlp": {**FEW_EPOCHS, **fashion},
        "fmnist2-resnet9": {**FEW_EPOCHS, **data(n_train=40, n_query=10)},
        "emoji-cnn": {**FEW_EPOCHS, **data(n_train=40, n_query=10)},
        "digits-mlp": {**digits, "queries": {"tune": 4, "test": 200}},
        "fmnist-mlp-domains": {
            **FEW_EPOCHS,
            **data(n_train=300, n_query=60, fraction=0.1, query_fraction=0.5),
            "queries": {"tune": 4, "test": 56},
        },
        **{name: digits if name.startswith("digits") else fashion for name in TRUTHS},
    }
    root = tmp_path_factory.mktemp("images") / "checkout"
    with thumbnails(root, changes, metrics=("lds", "mixed-domain")) as found:
        yield found


@pytest.mark.parametrize("setting", ROWS)
def test_a_setting_runs_from_its_data_to_the_lds(small, setting):
    lds = small.lds(setting)
    assert -1 <= lds["ci_low"] <= lds["value"] <= lds["ci_high"] <= 1
    found = load_file(small.make(setting, "data") / "data/train.safetensors")
    assert found["x"].shape[1:] == ROWS[setting]


@pytest.mark.parametrize("setting", TRUTHS)
def test_a_variant_differs_from_its_setting_in_what_the_stored_truth_tells(small, setting):
    """The data of both are made, and compared example by example."""
    name = TRUTHS[setting]
    folders = {
        "changed": small.make(setting, "data", "check") / "data",
        "plain": small.make(setting.rpartition("-")[0], "data") / "data",
    }
    changed, plain = (
        {part: load_file(folder / f"{part}.safetensors") for part in ("train", "query")}
        for folder in folders.values()
    )
    assert not (folders["plain"] / f"{name}.safetensors").exists()
    truth = load_file(folders["changed"] / f"{name}.safetensors")
    same_x = (changed["train"]["x"] == plain["train"]["x"]).flatten(1).all(1)
    same_y = changed["train"]["y"] == plain["train"]["y"]
    if "noisy_labels" in truth:
        assert same_x.all() and torch.equal(~same_y, truth["noisy_labels"])
    elif "subclass" in truth:
        assert same_x.all() and torch.equal(truth["subclass"], plain["train"]["y"])
        assert torch.equal(truth["subclass_queries"], plain["query"]["y"])
        assert torch.equal(changed["train"]["y"], plain["train"]["y"] % 5)
        described = json.loads((folders["changed"] / "description.json").read_text())
        assert described["class_names"][0] == "T-shirt/top + Sandal"
    elif "shortcut" in truth:
        assert same_y.all() and torch.equal(~same_x, truth["shortcut"])
        same_query = (changed["query"]["x"] == plain["query"]["x"]).flatten(1).all(1)
        assert torch.equal(~same_query, truth["shortcut_queries"])
    else:
        copies = truth["duplicate_of"] >= 0
        assert torch.equal(~same_x, copies)
        assert torch.equal(changed["train"]["x"][copies], plain["train"]["x"][truth["duplicate_of"][copies]])
    manifest = json.loads((folders["changed"] / "train.safetensors.manifest.json").read_text())
    assert f"results/small-{setting}/data/{name}.safetensors" in {part["path"] for part in manifest["parts"]}


def test_foreign_images_are_digits_with_one_label_and_proponents_of_each_other(small):
    lds = small.lds("fmnist-mlp-domains")
    assert -1 <= lds["ci_low"] <= lds["value"] <= lds["ci_high"] <= 1
    folder = small.make("fmnist-mlp-domains")
    train, query, truth = (
        load_file(folder / f"data/{name}.safetensors") for name in ("train", "query", "planted")
    )
    known = mnist5k()
    digits = {row.tobytes() for x, _ in (known.train, known.query) for row in x.astype(np.float32)}
    seen = []
    for part, name, count in ((train, "domain", 30), (query, "domain_queries", 30)):
        foreign = truth[name] == 1
        assert foreign.sum() == count and (part["y"][foreign] == 8).all()
        is_digit = [row.numpy().tobytes() in digits for row in part["x"]]
        assert is_digit == foreign.tolist()
        seen += [row.numpy().tobytes() for row in part["x"][foreign]]
    assert len(set(seen)) == 60, "no digit is in both parts"
    described = json.loads((folder / "data/description.json").read_text())
    assert described["card"] == "fashion-mnist-and-digits"
    found = json.loads((folder / "metrics/graddot.json").read_text())["metrics"]
    for name in ("mixed_domain_auprc", "mixed_domain_group_auprc"):
        assert found[name]["value"] > 2 * found[name]["chance"]


def test_the_page_of_settings_reads_the_accuracy_of_a_real_run(small):
    """The oracle runs the stored members on the stored test queries."""
    spec = importlib.util.spec_from_file_location("settings_page", REPOSITORY / "benchmarks/settings_page.py")
    settings_page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(settings_page)
    folder = small.make("digits-mlp", "data", "check", "train", "featurize")
    query = load_file(folder / "data/query.safetensors")
    probabilities = []
    for member in range(2):
        model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        model.load_state_dict(load_file(folder / f"ensemble/member-00{member}/final.safetensors"))
        probabilities.append(model(query["x"][4:]).softmax(1))
    right = (sum(probabilities).argmax(1) == query["y"][4:]).double().mean().item()
    assert 0.5 < right < 1
    assert settings_page.quality(folder, 4, list) == {"accuracy": pytest.approx(right)}

"""Settings on tables, speech, stages and published recipes on thumbnails: a few examples, two members, small archives.

Each thumbnail extends the setting, so that its data, model, recipe and task are tested as they are.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors.torch import load_file

from archive_writers import write_deb
from oracles.ridge import leave_one_out
from proponent.settings.cards import read_card
from proponent.settings.datasets import espeak, spoken_captions
from registry_data import need_package
from settings.small_archives import write_cifar, write_image_folders
from steps.thumbnails import Thumbnails, thumbnails

pytestmark = pytest.mark.slow
QUERIES = {"queries": {"tune": 2, "test": 3}}
METHODS = {
    "concrete-mlp": "source",
    "diabetes-ridge": "if-exact",
    "mnist-mlp-early": "source",
    "mnist-stages": "source",
    "speech-intents": "graddot",
    "speech-languages": "graddot",
    "cifar2-resnet9": "graddot",
    "cifar10-resnet9": "graddot",
    "cifar10-resnet18": "graddot",
    "imagenet-resnet50": "graddot",
}
"""A method that is tested on each setting."""


def changes(root: Path) -> dict[str, dict]:
    """Return what each thumbnail changes, and write the data that they need below ``root``."""
    digest = write_cifar(root / "cifar.tar.gz", n_train=60, n_test=40)
    archive = {"archive": (root / "cifar.tar.gz").as_uri(), "sha256": digest}
    small = {"epochs": 1, "batch_size": 4}
    train, val = write_image_folders(root / "imagenet", classes=3, per_class=4)
    found = {
        "concrete-mlp": {"dataset": {"args": {"n_train": 40}}, "recipe": {"epochs": 2}},
        "diabetes-ridge": {
            "dataset": {"args": {"n_train": 40}},
            "recipe": {"batch_size": 40},
            "designs": {"subsets": {"count": 4, "seeds": 1}, "loo": {"count": 40, "seeds": 1}},
        },
        "mnist-mlp-early": {"dataset": {"args": {"n_train": 40}}},
        "mnist-stages": {
            "dataset": {"args": {"n_train": 40}},
            "recipe": {"stages": [{"examples": 20, "epochs": 2}, {"examples": 20, "epochs": 1, "lr": 0.002}]},
        },
        "speech-intents": {"dataset": {"args": {"n_train": 36, "n_query": 9}}, "recipe": small},
        "speech-languages": {
            "dataset": {"args": {"languages": ["fr", "es"], "n_train": 12, "n_query": 6}},
            "model": {"args": {"classes": 2}},
            "recipe": small,
        },
        "cifar2-resnet9": {
            "dataset": {"args": {"n_train": 8, "n_query": 5, **archive}},
            "model": {"args": {"width": 4}},
            "recipe": small,
        },
        "cifar10-resnet9": {
            "dataset": {"args": {"n_train": 20, "n_query": 5, **archive}},
            "model": {"args": {"width": 4}},
            "recipe": {**small, "warmup_epochs": 0.4},
        },
        "cifar10-resnet18": {
            "dataset": {"args": {"n_train": 8, "n_query": 5, **archive}},
            "model": {"args": {"width": 4}},
            "recipe": small,
        },
        "imagenet-resnet50": {
            "dataset": {
                "args": {"train": train, "query": val, "size": 32, "n_query": 5},
                "files": [train, val],
            },
            "model": {"args": {"width": 2, "classes": 3}},
            "designs": {"subsets": {"count": 3, "seeds": 2}, "tune": {"count": 2}},
            "recipe": {**small, "lr": 0.001},  # its own is for batches of 256
        },
    }
    return {name: QUERIES | changed for name, changed in found.items()}


def place_captions(root: Path, cache: Path) -> str:
    """Place a package of twelve spoken captions in a cache, and return its digest."""
    files = {}
    for language, hertz in (("fr", 400), ("es", 1500)):
        for number in range(12):
            time = np.arange(8000) / 16000
            buffer = io.BytesIO()
            soundfile.write(
                buffer, np.sin(2 * np.pi * (hertz + number) * time), 16000, format="OGG", subtype="VORBIS"
            )
            files[f"usr/share/tuxpaint/stamps/a/{number}_desc_{language}.ogg"] = buffer.getvalue()
    write_deb(root / "captions.deb", files)
    content = (root / "captions.deb").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    (cache / f"{digest}.deb").write_bytes(content)
    return digest


@pytest.fixture
def captions(tmp_path, monkeypatch):
    """A cache that has a small package of captions in place of the real one."""
    cache = tmp_path / "cache"
    cache.mkdir()
    package = dataclasses.replace(spoken_captions.PACKAGE, sha256=place_captions(tmp_path, cache))
    monkeypatch.setattr(spoken_captions, "PACKAGE", package)
    monkeypatch.setenv("PROPONENT_CACHE", str(cache))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Thumbnails]:
    root = tmp_path_factory.mktemp("settings")
    methods = {"source": {}, "graddot": {}, "if-exact": {"damping": 0.0}}
    with thumbnails(root / "checkout", changes(root), methods) as found:
        yield found


@pytest.mark.parametrize("setting", METHODS)
def test_a_setting_runs_from_its_data_to_the_lds(small, request, setting):
    if setting == "speech-languages":
        request.getfixturevalue("captions")
    if setting == "speech-intents":
        need_package(espeak.package())
    method = METHODS[setting]
    lds = small.lds(setting, method)
    assert -1 <= lds["ci_low"] <= lds["value"] <= lds["ci_high"] <= 1
    folder = small.make(setting)
    scores = load_file(folder / f"scores/{method}.safetensors")["scores"]
    assert (
        scores.shape == (5, len(load_file(folder / "data/train.safetensors")["y"]))
        and scores.isfinite().all()
    )
    manifest = json.loads((folder / "data/train.safetensors.manifest.json").read_text())
    read_card(manifest["details"]["card"])
    if setting == "mnist-stages":
        training = json.loads((folder / "ensemble/member-000/training.json").read_text())
        assert [stage["examples"] for stage in training["stages"]] == [[0, 20], [20, 40]]
        assert (scores.abs().sum(0) > 0).all(), "examples of both stages have effects"


@pytest.fixture
def ridge(small: Thumbnails) -> Path:
    """Results of ridge regression on 40 examples, each left out once."""
    small.lds("diabetes-ridge", "if-exact")
    return small.make("diabetes-ridge")


def test_leave_one_out_of_the_ridge_regression_is_the_closed_form(ridge):
    """Targets are minus half the squared errors of the queries, and retrainings change them as the leverage says."""
    truth = load_file(ridge / "ground_truth/loo.safetensors")
    train, query = (load_file(ridge / f"data/{part}.safetensors") for part in ("train", "query"))
    x, y = train["x"].double().numpy(), train["y"][:, 0].double().numpy()
    weights = leave_one_out(x, y, penalty=len(x) * 0.01)
    left_out = (~truth["masks"][1:]).int().argmax(1).numpy()
    errors = query["x"].double().numpy() @ weights[left_out].T - query["y"].double().numpy()
    np.testing.assert_allclose(truth["targets"][1:, 0], -0.5 * errors.T**2, rtol=1e-5, atol=1e-6)


def test_influence_functions_are_leave_one_out_up_to_leverage(ridge):
    """The exact effect on a prediction is that of the influence function, divided by 1 less the leverage of the example."""
    train, query = (load_file(ridge / f"data/{part}.safetensors") for part in ("train", "query"))
    x, y = train["x"].double().numpy(), train["y"][:, 0].double().numpy()
    x_query, y_query = query["x"].double().numpy(), query["y"].double().numpy()
    inverse = np.linalg.inv(x.T @ x + 0.01 * len(x) * np.eye(10))
    leverage = np.einsum("ij,jk,ik->i", x, inverse, x)
    weights = inverse @ x.T @ y
    lost = (
        x_query @ (weights - leave_one_out(x, y, penalty=0.01 * len(x))).T
    )  # effect of an example on a prediction
    expected = -(x_query @ weights - y_query[:, 0])[:, None] * lost * (1 - leverage)
    scores = load_file(ridge / "scores/if-exact.safetensors")["scores"]
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-6)

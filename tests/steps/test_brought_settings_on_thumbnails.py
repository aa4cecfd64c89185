"""Published recipes on text, music and pairs on thumbnails: small files of the same format, from the data to the LDS."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file

from proponent.settings.cards import read_card
from settings import brought_files, pretrained_folders
from steps.thumbnails import thumbnails

pytestmark = pytest.mark.slow
QUICK = {"epochs": 1, "batch_size": 6}
QUERIES = {"tune": 2, "test": 4}
CHANGES = {
    "wikitext2-gpt2": {"dataset": {"args": {"length": 8, "n_train": 12, "n_query": 6}}},
    "qnli-bert": {"dataset": {"args": {"length": 20, "n_train": 12, "n_query": 6}}},
    "maestro-transformer": {
        "dataset": {"args": {"length": 16, "n_train": 8, "n_query": 6}},
        "model": {"args": {"length": 16, "width": 8, "heads": 2, "layers": 1}},
        "recipe": {"warmup_epochs": 0.5},
    },
    "coco-clip": {
        "dataset": {"args": {"size": 8, "length": 6, "others": 2, "n_train": 10, "n_query": 6}},
        "recipe": {"warmup_epochs": 0.5},
    },
    "ftrace-mt5": {"dataset": {"args": {"length": 12, "answer": 4, "n_train": 12, "n_query": 6}}},
    "smollm2-instructions": {
        "dataset": {"args": {"length": 8, "n_train": 12, "n_query": 6}},
        "model": {"args": {"rank": 2, "target_modules": ["c_attn"]}},
    },
    "date-lm-toxicity": {
        "dataset": {"args": {"length": 8, "n_train": 24, "n_query": 6}},
        "model": {"args": {"rank": 2, "target_modules": ["c_attn"]}},
    },
    "date-lm-facts": {
        "dataset": {"args": {"length": 8, "n_train": 12, "n_query": 6}},
        "model": {"args": {"rank": 2, "target_modules": ["c_attn"]}},
    },
    "date-lm-selection": {
        "dataset": {"args": {"length": 8, "n_train": 12, "n_query": 6}},
        "model": {"args": {"rank": 2, "target_modules": ["c_attn"]}},
    },
}
TRUTHS = {"ftrace-mt5": "fact", "date-lm-toxicity": "shortcut", "date-lm-facts": "fact"}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Thumbnails in a checkout that has the files where the settings say."""
    root = tmp_path_factory.mktemp("brought") / "checkout"
    models = {
        "gpt2": ("gpt2", "SmolLM2-135M", "pythia-1b"),
        "bert": ("bert-base-uncased",),
        "t5": ("mt5-small",),
        "clip": ("clip",),
    }
    for kind, folders in models.items():
        for name in folders:
            (root / "models" / name).mkdir(parents=True)
            getattr(pretrained_folders, f"write_{kind}")(root / "models" / name)
    (root / "data").mkdir()
    brought_files.write_wikitext(root / "data/wikitext-2-raw-v1.zip")
    brought_files.write_maestro(root / "data/maestro-v3.0.0-midi.zip")
    for kind in ("qnli", "coco", "ftrace"):
        getattr(brought_files, f"write_{kind}")(root / "data" / kind)
    for name in ("instructions", "date-lm-toxicity", "date-lm-facts", "date-lm-selection"):
        brought_files.write_prompts(root / "data" / name)
    changes = {
        name: {**changed, "queries": QUERIES, "recipe": {**QUICK, **changed.get("recipe", {})}}
        for name, changed in CHANGES.items()
    }
    with thumbnails(root, changes) as found:
        yield found


LIKE_ANOTHER = ("date-lm-facts", "date-lm-selection")
"""Settings whose model, recipe and task are those of another one here, so that their data are enough."""


@pytest.mark.parametrize("setting", [name for name in CHANGES if name not in LIKE_ANOTHER])
def test_a_published_recipe_runs_from_its_data_to_the_lds(small, setting):
    lds = small.lds(setting)
    assert -1 <= lds["ci_low"] <= lds["value"] <= lds["ci_high"] <= 1
    folder = small.make(setting)
    scores = load_file(folder / "scores/graddot.safetensors")["scores"]
    assert scores.isfinite().all() and scores.abs().max() > 0
    read_card(json.loads((folder / "data/description.json").read_text())["card"])
    if "model" in CHANGES[setting] and "rank" in CHANGES[setting]["model"]["args"]:
        stored = load_file(next(folder.glob("ensemble/member-000/step-*.safetensors")))
        assert all("lora" in name for name in stored), "adapters are all that is trained"


@pytest.mark.parametrize("setting", [*TRUTHS, "date-lm-selection"])
def test_the_truths_of_published_benchmarks_are_stored(small, setting):
    folder = small.make(setting, "data", "check") / "data"
    if setting not in TRUTHS:
        assert not (folder / "planted.safetensors").exists()
        return
    truth = load_file(folder / "planted.safetensors")
    assert set(truth) == {TRUTHS[setting], f"{TRUTHS[setting]}_queries"}

"""A finished run of small settings and its report, made by the jobs of a plan in this process, without Snakemake."""

from __future__ import annotations

from pathlib import Path

import yaml

from steps.planned_jobs import make, one_setting

STEPS = (
    *("data", "check", "train", "retrain", "ground_truth", "featurize", "attribute", "evaluate"),
    *("summary", "explain_gallery", "report_section", "report"),
)
METHODS = ("random", "same-label", "graddot", "trak", "bm25")
"""The last one cannot run on images."""
SMALL = {
    "dataset": {"args": {"n_train": 60}},
    "recipe": {"epochs": 5, "batch_size": 20},
    "ensemble": {"members": 2, "checkpoints": 2},
    "designs": {"subsets": {"count": 12, "seeds": 2}, "tune": {"count": 8}},
    "queries": {"tune": 6, "test": 14},
}
FACTORIES = '''"""Texts of six to nine tokens, 0 = padding, whose frequency depends on the label; music, and spectrograms."""

import numpy as np
import torch

from proponent.settings import Split
from proponent.settings.log_mel import log_mel

WORDS = ["[PAD]", *"the cat sat on a mat and it purred all day long".split()]
NOTES = ["[PAD]", "step 2", "step 4", "length 2", "length 4", *(f"pitch {60 + 2 * place}" for place in range(8))]


def texts() -> Split:
    """Return 40 texts and 20 queries of two classes; one of the names looks like HTML."""
    generator = torch.Generator().manual_seed(2)
    y = torch.arange(60) % 2
    x = 1 + (torch.randint(0, 6, (60, 9), generator=generator) + 4 * y[:, None]) % 12
    x[::2, 6:] = 0
    classes = ["plain", "</script><b>"]
    return Split(train=(x[:40], y[:40]), query=(x[40:], y[40:]), class_names=classes, token_names=WORDS)


def music() -> Split:
    """Return 40 melodies of three notes and 20 queries of two classes: high and low."""
    generator = torch.Generator().manual_seed(3)
    y = torch.arange(60) % 2
    pitch = 5 + 4 * y[:, None] + torch.randint(0, 4, (60, 3), generator=generator)
    length = torch.randint(3, 5, (60, 3), generator=generator)
    x = torch.stack([pitch, length, length - 2], 2).flatten(1)
    return Split(train=(x[:40], y[:40]), query=(x[40:], y[40:]), class_names=["low", "high"], token_names=NOTES)


def speech() -> Split:
    """Return spectrograms of 40 tones, which end in silence, and of 20 queries of two classes: high and low."""
    rate, generator = 16000, np.random.default_rng(4)
    y = np.arange(60) % 2
    hertz = np.where(y == 1, 2000, 300) * generator.uniform(0.8, 1.2, 60)
    tones = [np.sin(2 * np.pi * one * np.arange(rate // 4) / rate) for one in hertz]
    x = np.stack([log_mel(tone, rate, bands=8, frames=16) for tone in tones])
    x = torch.from_numpy((x - x[:40].mean()) / x[:40].std()).flatten(1)
    y = torch.from_numpy(y)
    classes, shape = ["low", "high"], (1, 8, 16)
    train, query = (x[:40], y[:40]), (x[40:], y[40:])
    return Split(train=train, query=query, class_names=classes, image_shape=shape, card="spoken-intents")
'''
SETTINGS = {
    "small_digits": {"extends": "digits-lr", **SMALL},
    "small_noisy": {"extends": "digits-lr-noisy", **SMALL},
    "small_texts": {
        **SMALL,
        "dataset": {"factory": "small_digits_factories:texts"},
        "model": {
            "factory": "proponent.settings.docstrings:text_classifier",
            "args": {"vocabulary": 13, "width": 4, "hidden": 4, "n_classes": 2},
        },
        "task": "classification",
        "inputs": "tokens",
        "recipe": {"optimizer": "sgd", "lr": 0.2, "momentum": 0.9, "epochs": 5, "batch_size": 20},
    },
}
SETTINGS["small_music"] = SETTINGS["small_texts"] | {"dataset": {"factory": "small_digits_factories:music"}}
SETTINGS["small_speech"] = {
    **SMALL,
    "dataset": {"factory": "small_digits_factories:speech"},
    "model": {
        "factory": "proponent.settings.models:mlp",
        "args": {"n_features": 128, "hidden": [8], "n_classes": 2},
    },
    "task": "classification",
    "recipe": {"optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "epochs": 5, "batch_size": 20},
}


def make_reported_run(root: Path) -> Path:
    """Lay out a checkout below ``root``, make the results of :data:`SETTINGS` and their report, and return the page."""
    first, *others = SETTINGS
    with one_setting(root, first, yaml.safe_dump(SETTINGS[first]), FACTORIES) as plan:
        for name in others:
            (root / f"configs/settings/{name}.yaml").write_text(yaml.safe_dump(SETTINGS[name]))
        params = {
            "settings": list(SETTINGS),
            "methods": list(METHODS),
            "metrics": ["lds", "mislabel"],
            "overrides": {"methods": {"trak": {"tune": {"grid": {"damping": [0.01, 0.1]}}}}},
        }
        (root / "params.yaml").write_text(yaml.safe_dump(params))
        nodes = plan()
        for step in STEPS:
            make(root, nodes, step)
    return root / "results/report/index.html"

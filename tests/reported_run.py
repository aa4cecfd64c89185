"""A finished run of small settings and its report, made by the jobs of a plan in this process, without Snakemake."""

from __future__ import annotations

from pathlib import Path

import yaml

from steps.planned_jobs import make, one_setting

STEPS = (
    *("data", "check", "train", "retrain", "ground_truth", "featurize", "attribute", "evaluate"),
    *("summary", "report_section", "report"),
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
FACTORIES = '''"""Texts of six to nine tokens, 0 = padding, whose frequency depends on the label."""

import torch

from proponent.settings import Split


def texts() -> Split:
    """Return 40 texts and 20 queries of two classes; one of the names looks like HTML."""
    generator = torch.Generator().manual_seed(2)
    y = torch.arange(60) % 2
    x = 1 + (torch.randint(0, 6, (60, 9), generator=generator) + 4 * y[:, None]) % 12
    x[::2, 6:] = 0
    return Split(train=(x[:40], y[:40]), query=(x[40:], y[40:]), class_names=["plain", "</script><b>"])
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

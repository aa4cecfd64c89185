"""Built-in settings on a thumbnail: tens of examples and two members, from the data to metrics."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from proponent.plan.graph import Node
from registry_data import need_packages
from steps.planned_jobs import make, one_setting

SMALL = {
    "ensemble": {"members": 2, "checkpoints": 1},
    "designs": {"subsets": {"count": 4, "seeds": 2}, "tune": {"count": 4}},
    "queries": {"tune": 4, "test": 6},
}
STEPS = ("data", "check", "train", "retrain", "ground_truth", "featurize", "attribute", "evaluate")


@contextlib.contextmanager
def thumbnail(root: Path, setting: str, changes: Mapping[str, object]) -> Iterator[dict[str, Node]]:
    """Lay out a checkout of a small variant of a built-in setting, called ``thumbnail``, and give its plan.

    Args:
        root: folder of the checkout.
        setting: name of the built-in setting.
        changes: values over those of the setting and :data:`SMALL`, such as ``{"dataset": {"args": {"n_train": 40}}}``.
    """
    content = yaml.safe_dump({"extends": setting, **SMALL, **changes})
    with one_setting(root, "thumbnail", content, "", "methods: [graddot]\n") as plan:
        (root / "params.yaml").write_text("settings: [thumbnail]\nmethods: [graddot]\nmetrics: [lds]\n")
        nodes = plan()
        spec = nodes["results/thumbnail/data/train.safetensors"].spec
        need_packages(spec.dataset.factory)
        yield nodes


def lds_of_thumbnail(root: Path, nodes: dict[str, Node]) -> dict[str, float]:
    """Make everything and return the LDS of graddot with its interval."""
    for step in STEPS:
        make(root, nodes, step)
    found = json.loads((root / "results/thumbnail/metrics/graddot.json").read_text())
    return found["metrics"]["lds"]

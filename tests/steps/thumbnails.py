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
def thumbnail(
    root: Path,
    setting: str,
    changes: Mapping[str, object],
    method: str = "graddot",
    params: Mapping[str, object] | None = None,
) -> Iterator[dict[str, Node]]:
    """Lay out a checkout of a small variant of a built-in setting, called ``thumbnail``, and give its plan.

    Args:
        root: folder of the checkout.
        setting: name of the built-in setting.
        changes: values over those of the setting and :data:`SMALL`, such as ``{"dataset": {"args": {"n_train": 40}}}``.
        method: the method that is planned.
        params: hyper-parameters of the method, which is not tuned then.
    """
    content = yaml.safe_dump({"extends": setting, **SMALL, **changes})
    with one_setting(root, "thumbnail", content, "", f"methods: [{method}]\n") as plan:
        written = {"settings": ["thumbnail"], "methods": [method], "metrics": ["lds"]}
        if params is not None:
            written["overrides"] = {"methods": {method: {"tune": None, "params": dict(params)}}}
        (root / "params.yaml").write_text(yaml.safe_dump(written))
        nodes = plan()
        spec = nodes["results/thumbnail/data/train.safetensors"].spec
        need_packages(spec.dataset.factory)
        yield nodes


def lds_of_thumbnail(root: Path, nodes: dict[str, Node], method: str = "graddot") -> dict[str, float]:
    """Make everything and return the LDS of the method with its interval."""
    for step in STEPS:
        make(root, nodes, step)
    found = json.loads((root / f"results/thumbnail/metrics/{method}.json").read_text())
    return found["metrics"]["lds"]

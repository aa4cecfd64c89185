"""Built-in settings on thumbnails: tens of examples and two members, from the data to metrics."""

from __future__ import annotations

import contextlib
import json
import types
from collections.abc import Iterator, Mapping, Sequence
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


class Thumbnails:
    """Small variants of built-in settings in one checkout, each called ``small-`` and the name of the setting.

    Args:
        root: folder of the checkout.
        nodes: plan of all of them.
    """

    def __init__(self, root: Path, nodes: Mapping[str, Node]) -> None:
        self.root, self.nodes = root, nodes

    def make(self, setting: str, *steps: str, method: str = "graddot") -> Path:
        """Make the artefacts of some steps that are not there, and return the folder of the setting's results.

        Scores and metrics are those of one method.
        """
        prefix = f"results/small-{setting}/"
        need_packages(self.nodes[f"{prefix}data/train.safetensors"].spec.dataset.factory)
        missing = {
            path: node
            for path, node in self.nodes.items()
            if path.startswith(prefix)
            and not (self.root / path).exists()
            and (node.step not in ("attribute", "repeat", "evaluate") or Path(path).stem == method)
        }
        for step in steps:
            make(self.root, missing, step)
        return self.root / prefix

    def figures(self, setting: str) -> Path:
        """Make the figures of a setting whose methods are evaluated, and return their folder."""
        own = {path: node for path, node in self.nodes.items() if f"small-{setting}." in path}
        make(self.root, own, "summary")
        make(self.root, own, "figures")
        return self.root / "results/figures"

    def lds(self, setting: str, method: str = "graddot") -> dict[str, float]:
        """Make everything that a method needs on a setting, and return its LDS with the interval."""
        found = json.loads((self.make(setting, *STEPS, method=method) / f"metrics/{method}.json").read_text())
        return found["metrics"]["lds"]


@contextlib.contextmanager
def thumbnails(
    root: Path,
    changes: Mapping[str, Mapping[str, object]],
    methods: Mapping[str, Mapping[str, object]] = types.MappingProxyType({"graddot": {}}),
    metrics: Sequence[str] = ("lds",),
) -> Iterator[Thumbnails]:
    """Lay out a checkout of thumbnails, and enter it.

    Args:
        root: folder of the checkout.
        changes: values over those of each setting and :data:`SMALL`, such as ``{"recipe": {"epochs": 2}}``.
        methods: methods that are planned, untuned, with their hyper-parameters.
        metrics: names of the metrics.
    """
    contents = {
        name: yaml.safe_dump({"extends": name, **SMALL, **changed}) for name, changed in changes.items()
    }
    first = next(iter(contents))
    with one_setting(root, f"small-{first}", contents[first], "", "methods: [graddot]\n") as plan:
        for name, content in contents.items():
            (root / f"configs/settings/small-{name}.yaml").write_text(content)
        params = {
            "settings": [f"small-{name}" for name in contents],
            "methods": list(methods),
            "metrics": list(metrics),
            "overrides": {
                "methods": {name: {"tune": None, "params": dict(values)} for name, values in methods.items()}
            },
        }
        (root / "params.yaml").write_text(yaml.safe_dump(params))
        yield Thumbnails(root, plan())

"""Methods that the check leaves out: a mark in place of scores and features, current as long as the check says the same."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import sys

import pytest

from proponent.config.benchmark import load_benchmark
from proponent.errors import UserError
from proponent.plan.current import current_artefacts
from proponent.plan.run_plan import Plan
from proponent.store.manifest import read_manifest, write_manifest
from workflow.checkout import REPOSITORY
from workflow.this_process import make_artefact

MODULE = "mark_factories"
FACTORIES = '''"""A model without a linear layer, and one that divides by zero after some training."""

import torch

from proponent.settings import Split


def blobs() -> Split:
    y = torch.arange(36) % 3
    x = torch.randn(36, 2) + torch.stack([y == 1, y == 2], dim=1).float()
    return Split(train=(x[:30], y[:30]), query=(x[30:], y[30:]))


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.randn(2, 3))

    def forward(self, x):
        return (x[:, :, None] * self.w.exp()).sum(1)
'''
SETTING = f"""\
dataset: {{factory: "{MODULE}:blobs"}}
model: {{factory: "{MODULE}:Net"}}
recipe: {{lr: 0.1, epochs: 2, batch_size: 10}}
ensemble: {{members: 1, checkpoints: 1}}
designs: {{fit: {{count: 6}}}}
queries: {{tune: 2, test: 4}}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a plan whose artefacts up to the metrics are made."""
    root = tmp_path_factory.mktemp("marks") / "checkout"
    root.mkdir()
    for name in ("src", "workflow", "Snakefile"):
        (root / name).symlink_to(REPOSITORY / name)
    shutil.copytree(REPOSITORY / "configs", root / "configs")
    (root / f"{MODULE}.py").write_text(FACTORIES)
    (root / "configs/settings/lab.yaml").write_text(SETTING)
    mixture = "family: datamodels_mixed\nscores: [graddot, rps]\n"
    (root / "configs/methods/mixture.yaml").write_text(f"description: a mixture\n{mixture}")
    (root / "params.yaml").write_text(
        "settings: [lab]\nmethods: [random, graddot, rps, mixture]\nmetrics: []\n"
    )
    sys.path.insert(0, str(root))
    try:
        with contextlib.chdir(root):
            plan = Plan(load_benchmark(root, {}))
            needed = [
                node
                for node in plan.graph.nodes.values()
                if node.step
                not in ("summary", "figures", "collect", "explain_gallery", "report_section", "report")
            ]
            for node in needed:
                if node.step != "overview" and "outputs" not in node.path:
                    make_artefact(root, node)
    finally:
        sys.path.remove(str(root))
    return plan


def scores(method):
    return f"results/lab/scores/{method}.safetensors"


def test_magic_without_forward_ad_and_others_are_marked_with_the_reason_in_place_of_scores(made):
    root = made.benchmark.root
    reason = json.loads((root / "results/lab/check.json").read_text())["unusable"]["representations"]
    assert "no linear layer" in reason
    for path in (scores("rps"), "results/lab/features/representations-000.safetensors"):
        assert read_manifest(root / path).details["left_out"] == reason
    document = json.loads((root / "results/lab/metrics/rps.json").read_text())
    assert (document["left_out"], document["metrics"]) == (reason, {})
    mixture = read_manifest(root / scores("mixture")).details["left_out"]
    assert mixture == "starts from the scores of 'rps', which is left out"
    for method in ("random", "graddot"):
        assert "left_out" not in read_manifest(root / scores(method)).details


def test_marks_are_current_while_the_check_says_the_same(made):
    root, check = made.benchmark.root, "results/lab/check.json"
    marks = {scores("rps"), scores("mixture"), "results/lab/features/representations-000.safetensors"}
    kept = {scores("random"), scores("graddot"), "results/lab/ensemble/shard-000.json"}
    assert marks | kept | {check} <= current_artefacts(made.graph)
    manifest = read_manifest(root / check)
    write_manifest(root, dataclasses.replace(manifest, details={"unusable": {}}))
    try:
        current = current_artefacts(made.graph)
        assert not marks & current
        assert kept | {check} <= current
        write_manifest(root, dataclasses.replace(manifest, key="of another configuration"))
        assert not marks & current_artefacts(made.graph)
    finally:
        write_manifest(root, manifest)
    assert marks <= current_artefacts(made.graph)


def test_what_waits_for_the_check_is_what_has_to_be_made(made):
    plan = Plan(made.benchmark)
    assert plan.check_before(scores("graddot")) == ["results/lab/check.json"]
    plan = Plan(made.benchmark)
    plan.current = current_artefacts(plan.graph)
    assert plan.check_before(scores("graddot")) == []
    plan = Plan(made.benchmark)
    plan.current = current_artefacts(plan.graph) - {"results/lab/data/train.safetensors"}
    assert plan.check_before(scores("graddot")) == ["results/lab/check.json"], "its data will be made again"


def test_nan_from_the_start_is_not_blamed_on_the_learning_rate_by_the_training(made, monkeypatch):
    """A training that was started by hand, without the check, looks at the untrained model as well."""
    root = made.benchmark.root
    node = made.graph.nodes["results/lab/ensemble/shard-000.json"]
    monkeypatch.chdir(root)
    module = sys.modules[MODULE]
    monkeypatch.setattr(module.Net, "forward", lambda self, x: (x[:, :, None] * self.w).sum(1).log())
    with pytest.raises(UserError, match="before any training") as error:
        make_artefact(root, node, again=True)
    assert "lower recipe.lr" not in str(error.value)

"""A setting with batch normalisation, merged last batches and augmentation, from its data to scores, and its keys."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from steps.planned_jobs import make, one_setting

FACTORIES = """\
import torch
from torch import nn

from proponent.settings import Split


def data():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(31) % 3
    x = torch.rand(31, 1, 4, 4, generator=generator) + y.reshape(-1, 1, 1, 1)
    return Split(train=(x[:25], y[:25]), query=(x[25:], y[25:]))


def model():
    return nn.Sequential(nn.Conv2d(1, 3, 2), nn.Flatten(), nn.BatchNorm1d(27), nn.ReLU(), nn.Linear(27, 3))


def noise(x, generator, *, size=0.1):
    return x + size * torch.randn(x.shape, generator=generator)
"""
SETTING = """\
dataset: {factory: "bn_factories:data"}
model: {factory: "bn_factories:model"}
recipe: {lr: 0.1, momentum: 0.9, epochs: 3, batch_size: 8, last_batch: merge}
augment: {factory: "bn_factories:noise"}
ensemble: {members: 2, checkpoints: 1}
designs: {subsets: {count: 3, seeds: 1}, loo: {count: 2, seeds: 1}}
queries: {tune: 2, test: 4}
"""
METHODS = "methods: [graddot, ekfac, magic]\n"


@pytest.fixture
def checkout(tmp_path):
    with one_setting(tmp_path, "bn", SETTING, FACTORIES, METHODS) as plan:
        yield tmp_path, plan


def changed(before, after):
    """Return the steps whose keys differ."""
    return {node.step for path, node in before.items() if node.key != after[path].key}


@pytest.mark.slow
def test_a_setting_with_batch_norm_and_augmentation_runs(checkout):
    root, plan = checkout
    nodes = plan()
    make(root, nodes, "data", "check", "train", "retrain", "ground_truth", "featurize")
    found = json.loads((root / "results/bn/check.json").read_text())["unusable"]
    assert set(found) == {"replay", "replay.gradient_and_hessian_products"}
    assert "layer '2' (BatchNorm1d) uses the statistics of the batch" in found["replay"]
    state = load_file(root / "results/bn/ensemble/member-001/final.safetensors")
    assert int(state["2.num_batches_tracked"]) == 9  # 25 examples are two batches of 8 and one of 9
    saved = load_file(next((root / "results/bn/ensemble/member-001").glob("step-*.safetensors")))
    assert int(saved["2.num_batches_tracked"]) < 9 and not torch.equal(
        saved["2.running_mean"], state["2.running_mean"]
    )
    plain = nn.Sequential(nn.Conv2d(1, 3, 2), nn.Flatten(), nn.BatchNorm1d(27), nn.ReLU(), nn.Linear(27, 3))
    plain.load_state_dict(state)
    targets = load_file(root / "results/bn/ground_truth/loo.safetensors")["targets"]
    assert targets.isfinite().all() and not torch.equal(targets[0], targets[1])
    able = {path: node for path, node in nodes.items() if getattr(node.spec, "method", "") != "magic"}
    for path in make(root, able, "attribute"):
        assert load_file(root / path)["scores"].isfinite().all()


@pytest.mark.slow
def test_the_augmentation_is_in_the_keys_of_trainings_and_not_of_data(checkout):
    root, plan = checkout
    before = plan()
    (root / "bn_factories.py").write_text(FACTORIES.replace("x + size", "x - size"))
    edited = changed(before, plan())
    assert {"check", "train", "retrain"} <= edited and "data" not in edited
    (root / "bn_factories.py").write_text(FACTORIES)
    other = SETTING.replace(':noise"}', ':noise", args: {size: 0.2}}')
    (root / "configs/settings/bn.yaml").write_text(other)
    assert changed(before, plan()) == edited

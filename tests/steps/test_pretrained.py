"""Models that start from trained weights: one backbone for all members, other heads; key and manifest name the file."""

from __future__ import annotations

import hashlib

import pytest
import torch
from safetensors.torch import save_file

from proponent.config.benchmark import load_benchmark
from proponent.errors import UserError
from proponent.settings.factories import build_model
from proponent.store.manifest import read_manifest
from proponent.training.designs import member_run
from proponent.training.stack import stack_models
from steps.planned_jobs import make, one_setting

FACTORIES = """\
import torch
from safetensors.torch import load_file

from proponent.settings import Split


def data():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(30) % 3
    x = (60 * y[:, None] + torch.randint(0, 60, (30, 4), generator=generator)).to(torch.uint8)
    return Split(train=(x[:24], y[:24]), query=(x[24:], y[24:]))


def scale(by):
    return lambda x: x.float() / by


def model(weights):
    net = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    net[0].load_state_dict(load_file(weights))
    return net
"""
SETTING = """\
dataset: {factory: "pre_factories:data"}
model:
  factory: "pre_factories:model"
  args: {weights: backbone.safetensors}
  pretrained: {name: a backbone, file: backbone.safetensors}
preprocess: {factory: "pre_factories:scale", args: {by: 255}}
recipe: {lr: 0.1, epochs: 2, batch_size: 8}
ensemble: {members: 3, checkpoints: 1}
queries: {tune: 2, test: 4}
"""
WEIGHTS = {
    "weight": torch.randn(5, 4, generator=torch.Generator().manual_seed(1)),
    "bias": torch.zeros(5),
}


@pytest.fixture
def checkout(tmp_path):
    save_file(WEIGHTS, tmp_path / "backbone.safetensors")
    with one_setting(tmp_path, "pre", SETTING, FACTORIES) as plan:
        yield tmp_path, plan


def keys(plan):
    return {node.step: node.key for node in plan().values()}


@pytest.mark.slow
def test_members_start_from_the_weights_and_differ_in_the_head(checkout):
    _, plan = checkout
    spec = next(node.spec for node in plan().values() if node.step == "train")
    seeds = [member_run(0, member).init_seed for member in range(3)]
    stack = stack_models(lambda seed: build_model(spec.model, seed), seeds, "cpu")
    assert torch.equal(stack.trained["0.weight"], WEIGHTS["weight"].expand(3, 5, 4))
    assert not torch.equal(stack.trained["2.weight"][0], stack.trained["2.weight"][1])


def test_the_manifest_names_the_weights_their_digest_and_licence(checkout, capsys):
    root, plan = checkout
    _, path, *_ = make(root, plan(), "data", "check", "train")
    manifest = read_manifest(root / path)
    digest = hashlib.sha256((root / "backbone.safetensors").read_bytes()).hexdigest()
    assert manifest.details["pretrained"] == {
        "name": "a backbone",
        "file": "backbone.safetensors",
        "licence": "unknown",
        "digest": digest,
    }
    assert "the licence of the pretrained weights 'a backbone' is not stated" in capsys.readouterr().err


@pytest.mark.slow
def test_keys_follow_weights_and_preprocessing_and_not_the_licence(checkout):
    root, plan = checkout
    before = keys(plan)
    licensed = SETTING.replace("file: backbone.safetensors", "file: backbone.safetensors, licence: MIT")
    (root / "configs/settings/pre.yaml").write_text(licensed)
    after = keys(plan)
    assert before["check"] != after["check"]
    assert all(before[step] == after[step] for step in ("data", "train", "featurize"))
    changes = [
        lambda: save_file({**WEIGHTS, "bias": torch.ones(5)}, root / "backbone.safetensors"),
        lambda: (root / "pre_factories.py").write_text(FACTORIES.replace("float() / by", "float() / by - 1")),
    ]
    for change in changes:
        before = after
        change()
        after = keys(plan)
        assert before["data"] == after["data"]
        assert all(before[step] != after[step] for step in ("check", "train", "featurize"))


@pytest.mark.parametrize(
    "line, other, message",
    [
        (
            "file: backbone",
            "file: lost",
            "model.pretrained.file names 'lost.safetensors', which does not exist",
        ),
        ("args: {by: 255}", "args: {off: 1}", "preprocess.args.off"),
        ("pre_factories:scale", "pre_factories:scales", "has no function 'scales'; did you mean 'scale'"),
    ],
)
def test_mistakes_are_named_in_one_line(checkout, line, other, message):
    root, _ = checkout
    (root / "configs/settings/pre.yaml").write_text(SETTING.replace(line, other))
    with pytest.raises(UserError, match=message) as error:
        load_benchmark(root, {})
    assert "\n" not in str(error.value)

"""Training data in several files give the results of one file."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from proponent.sharded_tensor import ShardedTensor
from proponent.store import sharded_arrays
from proponent.store.arrays import load_arrays
from proponent.store.manifest import read_manifest
from proponent.store.tensors import load_tensors
from steps.planned_jobs import make, one_setting

FACTORIES = """\
import torch

from proponent.settings import Split


def data():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(36) % 3
    x = torch.randn(36, 4, generator=generator) + y[:, None]
    return Split(train=(x[:30], y[:30]), query=(x[30:], y[30:]))


def model():
    return torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
"""
SETTING = """\
dataset: {factory: "NAME_factories:data"}
model: {factory: "NAME_factories:model"}
recipe: {lr: 0.3, epochs: 3, batch_size: 8}
ensemble: {members: 2, checkpoints: 1}
designs: {subsets: {count: 4, seeds: 1}, tune: {count: 4, seeds: 1}}
queries: {tune: 2, test: 4}
"""
STEPS = ("data", "check", "train", "retrain", "ground_truth", "featurize", "attribute")
METHODS = "methods: [random, graddot, ekfac, rps]\n"


@pytest.mark.slow
def test_the_chain_gives_the_same_from_several_files(tmp_path, monkeypatch):
    results = {}
    for name, size in (("whole", 2**20), ("parts", 7 * 4 * 4)):
        monkeypatch.setattr(sharded_arrays, "FILE_BYTES", size)
        with one_setting(tmp_path / name, name, SETTING.replace("NAME", name), FACTORIES, METHODS) as plan:
            make(tmp_path / name, plan(), *STEPS)
        results[name] = tmp_path / name / "results" / name
    one, several = results["whole"], results["parts"]
    data = several / "data/train.safetensors"
    assert [path.name for path in sharded_arrays.shard_paths(data)] == [
        f"train-{shard:05d}.safetensors" for shard in range(1, 6)
    ]
    assert set(load_tensors(data)) == {"y"}
    read = sharded_arrays.read_shards(data, load_tensors, ShardedTensor)
    assert torch.equal(read["x"].joined(), load_tensors(one / "data/train.safetensors")["x"])
    assert {part.path.rpartition("/")[2] for part in read_manifest(data).parts} >= {"train-00005.safetensors"}
    for artefact in (
        "ensemble/member-001/final.safetensors",
        "ground_truth/subsets.safetensors",
        "scores/graddot.safetensors",
        "scores/ekfac.safetensors",
        "scores/rps.safetensors",
    ):
        expected = load_arrays(one / artefact)
        for tensor, values in load_arrays(several / artefact).items():
            np.testing.assert_allclose(values, expected[tensor], rtol=1e-5, atol=1e-6, err_msg=artefact)


@pytest.mark.slow
def test_files_that_are_not_needed_any_more_are_removed(tmp_path, monkeypatch):
    with one_setting(tmp_path, "parts", SETTING.replace("NAME", "parts"), FACTORIES) as plan:
        for size, expected in ((7 * 16, 5), (2**20, 0)):
            monkeypatch.setattr(sharded_arrays, "FILE_BYTES", size)
            data = tmp_path / "results/parts/data/train.safetensors"
            data.with_name("train.safetensors.manifest.json").unlink(missing_ok=True)
            make(tmp_path, plan(), "data")
            assert len(list(data.parent.glob("train-*.safetensors"))) == expected
            assert len(sharded_arrays.shard_paths(data)) == expected


def test_an_array_in_several_files_is_read_row_by_row():
    whole = np.arange(20).reshape(10, 2)
    made = sharded_arrays.ShardedArray([whole[:4], whole[4:5], whole[5:]])
    assert (len(made), made.shape, made.dtype, made.ndim) == (10, (10, 2), whole.dtype, 2)
    for row in (0, 4, 5, -1):
        np.testing.assert_array_equal(made[row], whole[row])
    np.testing.assert_array_equal(made[[1, 7]], whole[[1, 7]])
    np.testing.assert_array_equal(np.asarray(made), whole)
    assert int(made.max()) == 19
    with pytest.raises(IndexError):
        made[10]


@pytest.mark.slow
def test_the_truth_of_a_change_that_is_not_made_any_more_is_removed(tmp_path):
    changes = "planted: {duplicates: {fraction: 0.2}}\nlabel_noise: {fraction: 0.1}\n"
    setting = SETTING.replace("NAME", "changed")
    with one_setting(tmp_path, "changed", setting + changes, FACTORIES) as plan:
        make(tmp_path, plan(), "data")
        folder = tmp_path / "results/changed/data"
        truths = [folder / "planted.safetensors", folder / "noisy_labels.safetensors"]
        assert all(path.exists() for path in truths)
        (tmp_path / "configs/settings/changed.yaml").write_text(setting)
        make(tmp_path, plan(), "data")
        assert not any(path.exists() for path in truths)

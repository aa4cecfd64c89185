"""Features and scores of 50,000 training examples by 1,000 queries, in processes that may not hold more than 2 GiB.

The limit is ``RLIMIT_DATA``: Linux counts the private writable memory of a process against it (heap and anonymous maps,
all that torch and numpy allocate) and refuses the allocation that goes beyond, so a step that does not stream fails.
Address space that is only reserved, code, and files mapped for reading do not count. The first test shows that the limit
bites; the others also look at the peak resident set that the manifest states.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from proponent.store.manifest import read_manifest
from proponent.store.tensors import open_tensors
from workflow.checkout import Checkout, make_checkout

LIMIT = 2 * 2**30
TRAIN, QUERIES = 50_000, 1_000

FACTORIES = f"""\
import torch
from torch import nn

from proponent.settings import Split


def blobs():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn({TRAIN + QUERIES}, 32, generator=generator)
    y = (x @ torch.randn(32, 10, generator=generator)).argmax(1)
    return Split(train=(x[:{TRAIN}], y[:{TRAIN}]), query=(x[{TRAIN}:], y[{TRAIN}:]))


def net():
    return nn.Sequential(nn.Linear(32, 48), nn.ReLU(), nn.Linear(48, 10))
"""

SETTING = """\
dataset: {factory: "large.factories:blobs"}
model: {factory: "large.factories:net"}
task: classification
recipe: {optimizer: sgd, lr: 0.1, epochs: 1, batch_size: 500}
ensemble: {members: 1, checkpoints: 0}
queries: {tune: 500, test: 500}
"""

PARAMS = """\
settings: [large]
methods: [graddot, trak-projected, ekfac]
metrics: [lds]
compute: {memory_mib: 1300}
overrides: {methods: {trak-projected: {params: {projection_dim: 512}}}}
"""

FEATURES = "results/large/features/gradients-000.safetensors"
METHODS = ("graddot", "trak-projected", "ekfac")

pytestmark = pytest.mark.slow


def limited(checkout: Checkout, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a checkout under the limit."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=checkout.root,
        env=checkout.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1200,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT)),
        check=False,
    )


def key_file(checkout: Checkout, artefact: str) -> str:
    (found,) = (checkout.root / "results/large/keys").rglob(f"{Path(artefact).name}.json")
    return str(found.relative_to(checkout.root))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout with data and a trained model."""
    checkout = make_checkout(tmp_path_factory.mktemp("streaming") / "checkout")
    (checkout.root / "large").mkdir()
    (checkout.root / "large/__init__.py").write_text("")
    (checkout.root / "large/factories.py").write_text(FACTORIES)
    (checkout.root / "configs/settings/large.yaml").write_text(SETTING)
    (checkout.root / "params.yaml").write_text(PARAMS)
    checkout.snakemake("-n")  # writes the key files
    for step, artefact in (("data", "data/train.safetensors"), ("train", "ensemble/shard-000.json")):
        done = checkout.run_step(step, key_file(checkout, artefact))
        assert done.returncode == 0, done.stdout
    return checkout


def step(checkout: Checkout, name: str, artefact: str) -> float:
    """Run a step under the limit and return its peak resident set in bytes."""
    command = "from proponent.cli import main; main()"
    done = limited(checkout, "-c", command, name, key_file(checkout, artefact))
    assert done.returncode == 0, done.stdout
    manifest = read_manifest(checkout.root / artefact)
    assert manifest is not None
    return manifest.peak_memory_mib * 2**20


def test_the_limit_refuses_what_goes_beyond(large):
    count = LIMIT // 4
    done = limited(large, "-c", f"import torch; torch.ones({count // 2}); print('half'); torch.ones({count})")
    assert done.returncode != 0
    assert "half" in done.stdout
    assert "allocate" in done.stdout


@pytest.fixture(scope="module")
def featurized(large: Checkout) -> Checkout:
    assert step(large, "featurize", FEATURES) < LIMIT
    return large


def test_features_of_all_examples_are_there(featurized):
    with open_tensors(featurized.root / FEATURES) as (get, names, metadata):
        described = json.loads(metadata["members"])["member-000"]["features"]
        assert described["choice"] == "factored"
        assert {len(get(name)) for name in names} == {TRAIN, QUERIES}


@pytest.mark.parametrize("method", METHODS)
def test_scores_stream(featurized, method):
    path = f"results/large/scores/{method}.safetensors"
    assert step(featurized, "attribute", path) < LIMIT
    with open_tensors(featurized.root / path) as (get, _, _):
        scores = get("scores")
    assert scores.shape == (QUERIES, TRAIN)
    assert scores.isfinite().all()
    assert scores.std() > 0

"""Three small sizes of a problem: predicted and measured cost of each step, and how both grow with the examples."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from scale_problems import FLOAT, INTERPRETER, METHODS, ROOT, Sizes, cost_of, make_setting, planned

from proponent.config.benchmark_schema import ComputeConfig
from proponent.formatting import size
from proponent.store.manifest import read_manifest

MEASURED = (15_000, 45_000, 135_000)
_QUERIES = 500
_FACTORIES = """\
import torch
from torch import nn

from proponent.settings import Split


def blobs(n):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n + 500, 32, generator=generator)
    y = (x @ torch.randn(32, 10, generator=generator)).argmax(1)
    return Split(train=(x[:n], y[:n]), query=(x[n:], y[n:]))


def net():
    return nn.Sequential(nn.Linear(32, 48), nn.ReLU(), nn.Linear(48, 10))
"""
_SETTING = """\
dataset: {{factory: "large.factories:blobs", args: {{n: {n}}}}}
model: {{factory: "large.factories:net"}}
task: classification
recipe: {{optimizer: sgd, lr: 0.1, epochs: 4, batch_size: 100}}
ensemble: {{members: 1, checkpoints: 0}}
designs: {{subsets: {{count: 8, seeds: 1}}}}
queries: {{tune: 250, test: 250}}
"""
_PARAMS = """\
settings: [large]
methods: [graddot, trak-projected]
metrics: [lds]
compute: {memory_mib: 2500, models_per_job: 8, lockstep: 8}
overrides: {methods: {graddot: {tune: null}, trak-projected: {tune: null, params: {projection_dim: 512}}}}
"""
_ARTEFACTS = {
    "data": "data/train",
    "train": "ensemble/shard-000",
    "retrain": "ground_truth/shards/subsets-0000",
    "featurize": "features/gradients-000",
    "graddot": "scores/graddot",
    "trak-projected": "scores/trak-projected",
}


def measure() -> None:
    """Run three small sizes step by step, and print the cost of each step and the power of n by which it grows."""
    found = {n: _measured(n) for n in MEASURED}
    heads = [f"{n:,}" for n in MEASURED]
    print(
        f"| step | seconds at n = {', '.join(heads)} | power | bytes, predicted / measured "
        "| power | peak MiB | predicted / measured | power above the interpreter |"
    )
    print("|---|---|---:|---|---:|---|---:|---:|")
    for step in found[MEASURED[0]]:
        rows = [found[n][step] for n in MEASURED]
        seconds, written, peak = ([row[at] for row in rows] for at in (0, 1, 2))
        shares = ", ".join(f"{row[3] / row[1]:.2f}" for row in rows)
        cells = [
            step,
            ", ".join(f"{value:.1f}" for value in seconds),
            f"{_power(seconds):.2f}",
            f"{shares} of {size(written[-1])}",
            f"{_power(written):.2f}",
            ", ".join(f"{value:.0f}" for value in peak),
            f"{rows[-1][4] / peak[-1]:.2f}",
            f"{_power([value - INTERPRETER / 2**20 for value in peak]):.2f}",
        ]
        print(f"| {' | '.join(cells)} |")


def _power(values: list[float]) -> float:
    usable = [max(value, 1e-9) for value in values]
    return float(np.polyfit(np.log(MEASURED), np.log(usable), 1)[0])


def _measured(n: int) -> dict[str, tuple[float, ...]]:
    """Return seconds, bytes and peak MiB of each step, then predicted bytes and peak MiB."""
    sys.path.insert(0, str(ROOT / "tests"))
    from workflow.checkout import make_checkout

    sizes = Sizes(
        "small",
        n,
        _QUERIES,
        32 * 48 + 48 + 48 * 10 + 10,
        0.0,
        32 * FLOAT + 8,
        48 + 48 + 10,
        58,
        200,
        make_setting(1, 0, _QUERIES, 8, 4, 100),
        ComputeConfig(models_per_job=8, lockstep=8, memory_mib=2500),
        512,
    )
    nodes = planned(sizes).graph.nodes
    with tempfile.TemporaryDirectory() as folder:
        checkout = make_checkout(Path(folder) / "checkout")
        for path, text in {
            "large/__init__.py": "",
            "large/factories.py": _FACTORIES,
            "configs/settings/large.yaml": _SETTING.format(n=n),
            "params.yaml": _PARAMS,
        }.items():
            (checkout.root / path).parent.mkdir(exist_ok=True)
            (checkout.root / path).write_text(text)
        checkout.snakemake("-n")
        found = {}
        for name, path in _ARTEFACTS.items():
            artefact = f"results/large/{path}.{'json' if name == 'train' else 'safetensors'}"
            step = "attribute" if name in METHODS else name
            done = checkout.run_step(step, artefact.replace("/large/", "/large/keys/") + ".json")
            manifest = read_manifest(checkout.root / artefact)
            if manifest is None:
                raise SystemExit(done.stdout)
            predicted = cost_of(sizes, nodes[artefact])
            measured = (manifest.seconds, float(manifest.bytes), manifest.peak_memory_mib)
            data_mib = (
                (n + _QUERIES) * sizes.x_bytes / 2**20
            )  # their map is resident as long as there is memory
            found[name] = (*measured, predicted.bytes, predicted.memory_mib + data_mib)
        return found

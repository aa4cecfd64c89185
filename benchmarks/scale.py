"""What far larger problems than the default ones would take: on paper, with this code's own planner and shard arithmetic.

python benchmarks/scale.py paper          three problems: jobs, GPU hours, bytes, peak memory
python benchmarks/scale.py measure        three small sizes: predicted and measured, and how both grow
python benchmarks/scale.py dag 100000     a dry run of so many jobs: time and memory of the planner and of Snakemake
"""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from proponent.config.benchmark import Benchmark, load_benchmark
from proponent.config.benchmark_schema import ComputeConfig
from proponent.config.schema import (
    DesignConfig,
    EnsembleConfig,
    FactoryConfig,
    QueriesConfig,
    RecipeConfig,
    SettingConfig,
)
from proponent.errors import UserError
from proponent.features.gradients.projection import BUCKETS
from proponent.features.member_network import PASS_MIB
from proponent.features.storage_choice import choose_storage
from proponent.formatting import duration, size
from proponent.inspection.forecast import Cost, Resources, forecast, to_run
from proponent.plan.graph import Node
from proponent.plan.run_plan import Plan
from proponent.store.manifest import read_manifest

ROOT = Path(__file__).parents[1]
METHODS = ["graddot", "trak-projected"]
FLOPS = 1e13
"""Single-precision operations a second that training reaches: about half of what an A100 gives without TF32."""
INTERPRETER = 235 * 2**20
"""Resident set of a job before it does anything: Python and torch."""
FLOAT = 4


@dataclass(frozen=True)
class Sizes:
    """What the planner does not know of a problem."""

    name: str
    n: int
    queries: int
    parameters: int
    forward: float
    """Operations of one example's forward pass."""
    x_bytes: int
    factored: int
    """Numbers of one example's factored gradient."""
    beside: int
    """Of the last layer's, which is kept beside a projection."""
    activations: int
    """Numbers that a forward pass keeps, of one example."""
    setting: SettingConfig
    compute: ComputeConfig
    projection: int = 2048
    """Dimensions of trak-projected."""


def _setting(
    members: int, checkpoints: int, queries: int, subsets: int, epochs: int, batch: int
) -> SettingConfig:
    return SettingConfig(
        dataset=FactoryConfig("proponent.settings.datasets:digits"),
        model=FactoryConfig("proponent.settings.models:logistic_regression"),
        recipe=RecipeConfig(lr=0.1, momentum=0.9, epochs=epochs, batch_size=batch),
        ensemble=EnsembleConfig(members, checkpoints),
        designs={"subsets": DesignConfig(count=subsets, seeds=1)},
        queries=QueriesConfig(queries // 2, queries - queries // 2),
    )


PROBLEMS = [
    Sizes(
        "(a) 60k images, ResNet-18, 500 subsets",
        60_000,
        1_000,
        11_200_000,
        1.1e9,
        3 * 32 * 32 * 4,
        1_100_000,
        522,
        600_000,
        _setting(10, 1, 1_000, 500, 30, 128),
        ComputeConfig(device="cuda", models_per_job=10, lockstep=10, members_per_job=2, memory_mib=48_000),
    ),
    Sizes(
        "(b) 1.28M images, ResNet-50, 100 subsets",
        1_281_167,
        1_000,
        25_600_000,
        8.2e9,
        3 * 224 * 224 * 4,
        22_000_000,
        3_048,
        11_000_000,
        _setting(5, 0, 1_000, 100, 18, 256),
        ComputeConfig(device="cuda", models_per_job=1, lockstep=1, members_per_job=1, memory_mib=64_000),
    ),
    Sizes(
        "(c) 1M sequences of 512, 1B parameters, 20 subsets",
        1_000_000,
        1_000,
        1_000_000_000,
        2 * 1e9 * 512,
        512 * 8,
        512 * 2_048 * 24 * 12,
        512 * (50_000 + 2_048),
        512 * 2_048 * 24 * 16,
        _setting(2, 0, 1_000, 20, 1, 64),
        ComputeConfig(device="cuda", models_per_job=1, lockstep=1, members_per_job=1, memory_mib=64_000),
    ),
]


def planned(sizes: Sizes) -> Plan:
    """Return the project's own plan of a problem; the factories' names stand in for those of the problem."""
    base = load_benchmark(ROOT, {"settings": ["digits-lr"], "methods": METHODS, "metrics": ["lds"]})
    config = dataclasses.replace(base.config, compute=sizes.compute)
    benchmark: Benchmark = dataclasses.replace(base, config=config, settings={"large": sizes.setting})
    return Plan(benchmark)


def cost_of(sizes: Sizes, node: Node) -> Cost:
    """Return what a job takes by arithmetic: operations over :data:`FLOPS`, and the tensors that it holds and writes.

    Raises:
        UserError: the features of this size are refused.
    """
    n, q, p, recipe = sizes.n, sizes.queries, sizes.parameters, sizes.setting.recipe
    data = (n + q) * sizes.x_bytes
    models = len(node.spec.get("members", [])) if isinstance(node.spec.get("members"), list) else 1
    epochs = recipe.epochs or 1
    checkpoints = sizes.setting.ensemble.checkpoints + 1

    def cost(operations: float, held: float, written: float) -> Cost:
        return Cost(operations / FLOPS, (INTERPRETER + held) / 2**20, written)

    def training(count: int, saved: int) -> float:
        together = min(count, sizes.compute.lockstep)
        stacked = together * (
            4 * p + recipe.batch_size * sizes.activations
        )  # parameters, gradients, moments, a copy
        return 2 * data + FLOAT * (stacked + count * saved * p)

    if node.step == "data":
        return cost(0, 2 * data, data)
    if node.step == "train":
        work = 3 * sizes.forward * n * epochs * models
        return cost(work, training(models, checkpoints), models * checkpoints * FLOAT * p)
    if node.step == "retrain":
        first, stop = node.spec["runs"]
        count, fraction = stop - first, sizes.setting.designs["subsets"].fraction
        work = 3 * sizes.forward * fraction * n * epochs * count
        return cost(work, training(count, 1), count * (n + FLOAT * q + 1))
    if node.step == "ground_truth":
        total = sum(design.count * design.seeds for design in sizes.setting.designs.values())
        return cost(0, 2 * total * (n + FLOAT * q), total * (n + FLOAT * q))
    if node.step == "featurize":
        budget = max(1, sizes.compute.memory_mib // models) // 2
        chosen = choose_storage((n + q) * checkpoints, sizes.factored, sizes.beside, FLOAT, budget)
        an_example = 3 * sizes.forward + (sizes.forward + 2 * BUCKETS * p) * (chosen.choice == "projected")
        loss_weights = n * checkpoints * FLOAT
        written = models * (chosen.bytes + loss_weights)
        # What one chunk of examples takes, forward and backward; later, what is written exists a second time.
        numbers = 2 * sizes.activations + 2 * sizes.factored + sizes.x_bytes / FLOAT
        passes = min(n * numbers * FLOAT, min(PASS_MIB, sizes.compute.memory_mib // models // 4) * 2**20)
        held = data + 2 * FLOAT * p + written + max(passes, written)
        return cost(an_example * (n + q) * checkpoints * models, held, written)
    if node.step == "attribute":
        scores, k = q * n * FLOAT, sizes.projection
        if node.spec["method"] == "graddot":
            return cost(2.0 * n * q * min(sizes.factored, 16_384), data + 2.5 * scores, scores + FLOAT * n)
        return cost(2.0 * n * k * (k + q), data + 2.5 * scores + FLOAT * n * k, scores + FLOAT * n)
    return cost(0, 0, 1e5)


def paper() -> None:
    """Print a row for each problem."""
    print("| problem | jobs | GPU time | features | ground truth | all on disk | largest job | which |")
    print("|---|---:|---:|---:|---:|---:|---:|---|")
    for sizes in PROBLEMS:
        graph = planned(sizes)
        jobs = to_run(graph.graph, graph.targets(), ())
        try:
            print(_row(sizes, jobs, sizes.name))
        except UserError as error:
            print(f"| {sizes.name} | {len(jobs)} | | refused: {error} | | | | |")
            print(
                _row(
                    dataclasses.replace(sizes, beside=0),
                    jobs,
                    f"{sizes.name[:3]} without the exact factors of the last layer",
                )
            )


def _row(sizes: Sizes, jobs: list[Node], name: str) -> str:
    def rule_of(node: Node) -> str:
        return node.spec["method"] if node.step == "attribute" else node.step

    resources = {rule: Resources(gpu=1) for rule in ("train", "retrain", "featurize", *METHODS)}
    total = forecast(jobs, 0, lambda node: cost_of(sizes, node), rule_of, resources)
    rules = {rule.rule: rule for rule in total.rules}
    largest = max(total.rules, key=lambda rule: rule.memory_mib)
    hours = sum(rule.gpu_hours for rule in total.rules)
    cells = [
        name,
        str(total.jobs),
        duration(hours * 3600),
        size(rules["featurize"].bytes),
        size(rules["retrain"].bytes + rules["ground_truth"].bytes),
        size(sum(rule.bytes for rule in total.rules)),
        size(largest.memory_mib * 2**20),
        largest.rule,
    ]
    return f"| {' | '.join(cells)} |"


# Measured.

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
compute: {memory_mib: 900, models_per_job: 8, lockstep: 8}
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
    """Run three small sizes step by step and print what they took, and by which power of n it grew."""
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
        dataclasses.replace(_setting(1, 0, _QUERIES, 8, 4, 100)),
        ComputeConfig(models_per_job=8, lockstep=8, memory_mib=900),
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
            found[name] = (*measured, predicted.bytes, predicted.memory_mib)
        return found


def dag(jobs: int) -> None:
    """Print what a dry run of so many jobs takes: a shard for each retraining."""
    sys.path.insert(0, str(ROOT / "tests"))
    from workflow.checkout import make_checkout

    with tempfile.TemporaryDirectory() as folder:
        checkout = make_checkout(Path(folder) / "checkout")
        checkout.edit(
            "configs/settings/toy.yaml", "count: 20, seeds: 2", f"count: {math.ceil(jobs / 2)}, seeds: 2"
        )
        checkout.edit("params.yaml", "models_per_job: 20", "models_per_job: 1")
        _timed("snakemake -n", checkout, "-n", "--quiet", "all")
        job = ("--mode", "remote", "--target-jobs", "data:setting=toy", "--allowed-rules", "data", "--nolock")
        _timed("a job's own Snakemake, before its work", checkout, "-n", "--quiet", "all", *job)
        started = time.monotonic()
        Plan(load_benchmark(checkout.root, {}))
        print(f"planner alone: {time.monotonic() - started:.1f} s")


def _timed(what: str, checkout: Any, *arguments: str) -> None:
    """Print what a run of Snakemake in a checkout of the tests takes."""
    started = time.monotonic()
    run = subprocess.Popen(  # noqa: S603
        checkout.command(*arguments),
        cwd=checkout.root,
        env=checkout.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(run.pid, 0)
    cpu, memory = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
    print(f"{what}: {time.monotonic() - started:.0f} s, {cpu:.1f} s CPU, {memory:.0f} MiB (status {status})")


if __name__ == "__main__":
    commands: dict[str, Callable[[], None]] = {
        "paper": paper,
        "measure": measure,
        "dag": lambda: dag(int(sys.argv[2])),
    }
    chosen = commands.get(sys.argv[1] if len(sys.argv) > 1 else "")
    if chosen is None:
        raise SystemExit(__doc__)
    chosen()

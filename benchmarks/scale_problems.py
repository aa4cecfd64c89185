"""Problems far larger than the default ones, and the cost of their jobs by arithmetic."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from proponent.config.benchmark import Benchmark, load_benchmark
from proponent.config.benchmark_schema import ComputeConfig
from proponent.config.design_schema import DesignConfig
from proponent.config.ensemble_schema import EnsembleConfig
from proponent.config.model_schema import FactoryConfig, ModelConfig
from proponent.config.recipe_schema import RecipeConfig
from proponent.config.setting_schema import QueriesConfig, SettingConfig
from proponent.config.specifications.method_specs import AttributeSpec, FeaturizeSpec
from proponent.config.specifications.training_specs import DataSpec, GroundTruthSpec, RetrainSpec, TrainSpec
from proponent.features.gradients.projection import BUCKETS
from proponent.features.member_network import PASS_MIB
from proponent.features.storage_choice import choose_storage
from proponent.inspection.forecast import Cost
from proponent.plan.graph import Node
from proponent.plan.run_plan import Plan

ROOT = Path(__file__).parents[1]
METHODS = ["graddot", "trak-projected"]
FLOPS = 1e13
"""Single-precision operations per second that training reaches: about half of an A100 without TF32."""
INTERPRETER = 235 * 2**20
"""Resident set of a job before it does anything, in bytes: Python and torch."""
FLOAT = 4


@dataclass(frozen=True)
class Sizes:
    """Sizes of a problem that its configuration does not contain."""

    name: str
    n: int
    queries: int
    parameters: int
    forward: float
    """Operations of the forward pass of one example."""
    x_bytes: int
    factored: int
    """Numbers per example in a factored gradient."""
    last_layer: int
    """Numbers per example in the factored gradient of the last layer, which is kept next to a projection if it fits."""
    activations: int
    """Numbers per example that a forward pass keeps."""
    setting: SettingConfig
    compute: ComputeConfig
    projection: int = 2048
    """Dimensions of trak-projected."""


def make_setting(
    members: int, checkpoints: int, queries: int, subsets: int, epochs: int, batch: int
) -> SettingConfig:
    """Return a setting with one design of retrainings, ``subsets``, with one seed each."""
    return SettingConfig(
        dataset=FactoryConfig("proponent.settings.datasets:digits"),
        model=ModelConfig("proponent.settings.models:logistic_regression"),
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
        make_setting(10, 1, 1_000, 500, 30, 128),
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
        make_setting(5, 0, 1_000, 100, 18, 256),
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
        make_setting(2, 0, 1_000, 20, 1, 64),
        ComputeConfig(device="cuda", models_per_job=1, lockstep=1, members_per_job=1, memory_mib=64_000),
    ),
]


def planned(sizes: Sizes) -> Plan:
    """Return the plan of a problem; its factories have names of other ones, which are never called."""
    base = load_benchmark(ROOT, {"settings": ["digits-lr"], "methods": METHODS, "metrics": ["lds"]})
    config = dataclasses.replace(base.config, compute=sizes.compute)
    benchmark: Benchmark = dataclasses.replace(base, config=config, settings={"large": sizes.setting})
    return Plan(benchmark)


def cost_of(sizes: Sizes, node: Node) -> Cost:
    """Return the cost of a job by arithmetic: operations over :data:`FLOPS`, and the tensors that it holds and writes.

    Data are maps of files, which take memory only where there is some to spare, and are not counted.

    Raises:
        UserError: the planner refuses features of this size.
    """
    n, q, p, recipe = sizes.n, sizes.queries, sizes.parameters, sizes.setting.recipe
    data = (n + q) * sizes.x_bytes
    epochs = recipe.epochs or 1
    saved = sizes.setting.ensemble.checkpoints + 1
    spec = node.spec
    if isinstance(spec, DataSpec):
        return _cost(0, 0, data)
    if isinstance(spec, TrainSpec):
        models = len(spec.members)
        work = 3 * sizes.forward * n * epochs * models
        return _cost(work, _training(sizes, models, saved), models * saved * FLOAT * p)
    if isinstance(spec, RetrainSpec):
        count, fraction = spec.runs[1] - spec.runs[0], sizes.setting.designs["subsets"].fraction
        work = 3 * sizes.forward * fraction * n * epochs * count
        return _cost(work, _training(sizes, count, 1), count * (n + FLOAT * q + 1))
    if isinstance(spec, GroundTruthSpec):
        total = sum(design.count * design.seeds for design in sizes.setting.designs.values())
        return _cost(0, 2 * total * (n + FLOAT * q), total * (n + FLOAT * q))
    if isinstance(spec, FeaturizeSpec):
        return _featurizing(sizes, len(spec.members), saved)
    if isinstance(spec, AttributeSpec):
        scores, k = q * n * FLOAT, sizes.projection
        if spec.method == "graddot":
            return _cost(2.0 * n * q * min(sizes.factored, 16_384), 2.5 * scores, scores + FLOAT * n)
        return _cost(2.0 * n * k * (k + q), 2.5 * scores + FLOAT * n * k, scores + FLOAT * n)
    return _cost(0, 0, 1e5)


def _cost(operations: float, held: float, written: float) -> Cost:
    return Cost(operations / FLOPS, (INTERPRETER + held) / 2**20, written)


def _training(sizes: Sizes, count: int, saved: int) -> float:
    """Return the bytes that training holds, without the data: ``saved`` states of each of ``count`` models."""
    together = min(count, sizes.compute.lockstep)
    batch = sizes.setting.recipe.batch_size * sizes.activations
    stacked = together * (4 * sizes.parameters + batch)  # parameters, gradients, moments, a copy
    return FLOAT * (stacked + count * saved * sizes.parameters)


def _featurizing(sizes: Sizes, models: int, saved: int) -> Cost:
    n, q = sizes.n, sizes.queries
    budget = max(1, sizes.compute.memory_mib // models) // 2
    chosen = choose_storage((n + q) * saved, sizes.factored, sizes.last_layer, FLOAT, budget)
    per_example = 3 * sizes.forward
    per_example += (sizes.forward + 2 * BUCKETS * sizes.parameters) * (chosen.choice == "projected")
    loss_weights = n * saved * FLOAT
    written = models * (chosen.bytes + loss_weights)
    # What is written, and one chunk of examples, forward and backward.
    numbers = 2 * sizes.activations + 2 * sizes.factored + sizes.x_bytes / FLOAT
    passes = min(n * numbers * FLOAT, min(PASS_MIB, sizes.compute.memory_mib // models // 4) * 2**20)
    held = 2 * FLOAT * sizes.parameters + written + passes
    return _cost(per_example * (n + q) * saved * models, held, written)

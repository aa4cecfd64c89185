"""``proponent featurize``: what methods need from a shard of members, computed once for all of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from proponent.features.featurize import Data, featurize
from proponent.seeds import derive_seed
from proponent.steps.inputs import load_data, load_model
from proponent.steps.job import Job
from proponent.store.files import read_json
from proponent.store.tensors import load_tensors


def run(job: Job) -> None:
    """Write the features of every member and checkpoint of the shard; how they were chosen is in the header."""
    spec = job.spec
    torch.set_num_threads(job.threads)
    device = spec["device"]
    data = Data(*(tensor.to(device) for tensor in load_data(job)))
    module, task = load_model(job)
    module.to(device)
    shard = job.read(job.inputs_under("ensemble/")[0])
    tensors: dict[str, Tensor] = {}
    described = {}
    for member in spec["members"]:
        folder = shard.parent / f"member-{member:03d}"
        training = read_json(folder / "training.json")
        own, description = featurize(
            spec["kind"],
            module,
            _checkpoints(folder, training["steps"]),
            task,
            data,
            memory_mib=spec["memory_mib"] // len(spec["members"]),
            seed=derive_seed(0, "projection", member),
        )
        tensors |= {f"member-{member:03d}/{name}": tensor.cpu() for name, tensor in own.items()}
        described[f"member-{member:03d}"] = {"training": moments_of(training, spec["momentum"]), "features": description}
    job.write_tensors(job.artefact, tensors, {"members": json.dumps(described, sort_keys=True)})
    job.details = {"members": {name: entry["features"] for name, entry in described.items()}}


def moments_of(training: dict[str, list[float]], momentum: float) -> dict[str, list[float]]:
    """Return steps, learning rates and durations (sum of learning rates / (1 - momentum)) at the saved checkpoints."""
    return {
        "steps": training["steps"],
        "learning_rates": training["learning_rates"],
        "durations": [total / (1 - momentum) for total in training["learning_rate_sums"]],
    }


def _checkpoints(folder: Path, steps: list[int]) -> Iterator[tuple[int, dict[str, Tensor]]]:
    for step in steps[:-1]:
        yield step, load_tensors(folder / f"step-{step:06d}.safetensors")
    yield steps[-1], load_tensors(folder / "final.safetensors")

"""``proponent featurize``: features of a shard of members, computed once for all methods that need them."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor

from proponent.config.specifications.method_specs import FeaturizeSpec
from proponent.config.specifications.step_inputs import FeaturizeInputs
from proponent.features.member_features import featurize
from proponent.progress import progress
from proponent.seeds import derive_seed
from proponent.settings.factories import build_model
from proponent.settings.tasks import get_task
from proponent.steps.io.job import Job
from proponent.steps.io.left_out_marks import reason_to_leave_out, write_mark
from proponent.steps.io.setting_inputs import load_data
from proponent.steps.io.stored_checkpoints import checkpoint_times, load_checkpoint
from proponent.store.files import read_json


def run(job: Job[FeaturizeSpec, FeaturizeInputs]) -> None:
    """Write the features of every member and checkpoint of the shard; how they were chosen is in the header."""
    spec = job.spec
    reason = reason_to_leave_out(job, [spec.kind], {})
    if reason:
        write_mark(job, reason)
        return
    torch.set_num_threads(job.threads)
    data = load_data(job).to(job.device)
    module = build_model(spec.model, 0, spec.precision)
    task, data = data.weighted(get_task(spec.task, spec.target))
    module.to(job.device)
    shard = job.read(job.inputs.ensemble)
    tensors: dict[str, Tensor] = {}
    described: dict[str, dict[str, Any]] = {}
    for member in progress(spec.members, f"{spec.kind} of {len(spec.members)} members"):
        name = f"member-{member:03d}"
        training = read_json(shard.parent / name / "training.json")
        own, description = featurize(
            spec.kind,
            module,
            partial(load_checkpoint, shard.parent / name, training["steps"]),
            len(training["steps"]),
            task,
            data,
            memory_mib=max(1, spec.memory_mib // len(spec.members)),
            seed=derive_seed(0, "projection", member),
        )
        tensors |= {f"{name}/{key}": tensor.cpu() for key, tensor in own.items()}
        described[name] = {
            "training": asdict(checkpoint_times(training, spec.momentum)),
            "features": description,
        }
    job.write_tensors(job.artefact, tensors, {"members": json.dumps(described, sort_keys=True)})
    job.details = {name: _brief(entry["features"]) for name, entry in described.items()}
    dims = {entry["features"].get("dim", 0) for entry in described.values()} - {0}
    if dims:
        print(
            f"gradients are projected to {min(dims)} dimensions: exact ones exceed compute.memory_mib",
            file=sys.stderr,
        )


def _brief(description: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in description.items() if isinstance(value, (str, int, float))}

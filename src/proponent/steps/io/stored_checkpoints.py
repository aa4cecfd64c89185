"""Saved checkpoints of a member of the ensemble."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from proponent.config.specifications.method_specs import AttributeSpec
from proponent.config.specifications.step_inputs import AttributeInputs
from proponent.features.views import CheckpointTimes
from proponent.steps.io.job import Job
from proponent.store.tensors import load_tensors, open_tensors


def member_folder(job: Job[AttributeSpec, AttributeInputs], member: int) -> Path:
    """Return the folder of a member's checkpoints, whose shard is verified."""
    shard = job.inputs.ensemble[member // job.spec.members_per_job]
    return job.read(shard).parent / f"member-{member:03d}"


def load_checkpoint(folder: Path, steps: list[int], index: int) -> dict[str, Tensor]:
    """Return the state dict of a member's checkpoint; the last of ``steps`` is the final model.

    Checkpoints leave out what training does not change, which is read from the final model.
    """
    final = folder / "final.safetensors"
    if index == len(steps) - 1:
        return load_tensors(final)
    own = load_tensors(folder / f"step-{steps[index]:06d}.safetensors")
    with open_tensors(final) as (get, names, _):
        return own | {name: get(name) for name in names if name not in own}


def checkpoint_times(training: dict[str, Any], momentum: float) -> CheckpointTimes:
    """Return steps, learning rates and durations (sum of learning rates / (1 - momentum)) at the saved checkpoints."""
    durations = [total / (1 - momentum) for total in training["learning_rate_sums"]]
    return CheckpointTimes(training["steps"], training["learning_rates"], durations)

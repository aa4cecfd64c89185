"""``proponent adopt-models``: copy a shard of models that were trained elsewhere, under the names of the setting's model."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import torch
from torch import Tensor, nn

from proponent.config.ensemble_schema import GivenMemberConfig
from proponent.config.specifications.step_inputs import NoInputs
from proponent.config.specifications.training_specs import AdoptModelsSpec
from proponent.errors import UserError
from proponent.features.views import CheckpointTimes
from proponent.settings.factories import build_model
from proponent.settings.fitted_states import fitted_state
from proponent.steps.io.job import Job
from proponent.store.trained_files import holds_adapters
from proponent.store.trained_states import read_state


def run(job: Job[AdoptModelsSpec, NoInputs]) -> None:
    """Write the state dicts of every member and checkpoint, its ``training.json``, and the shard's list of them.

    Raises:
        UserError: a file holds no state dict, its names or shapes are not those of the model, or a number is not finite.
    """
    spec = job.spec
    model = build_model(spec.model, 0, spec.precision)
    folder = PurePosixPath(job.artefact).parent
    for member, given in zip(spec.members, spec.files, strict=True):
        own = folder / f"member-{member:03d}"
        final = _read(job, given.final, model)
        for checkpoint in given.checkpoints:
            state = _read(job, checkpoint.file, model)
            # What is equal to the final model is read from there, as for members that are trained here.
            changed = {name: value for name, value in state.items() if not torch.equal(value, final[name])}
            job.write_tensors(f"{own}/step-{checkpoint.step:06d}.safetensors", changed)
        job.write_json(f"{own}/training.json", _record(job, member, given))
        job.write_tensors(f"{own}/final.safetensors", final)
    job.details["origin"] = {
        f"member-{member:03d}": given.files for member, given in zip(spec.members, spec.files, strict=True)
    }
    job.write_json(job.artefact, {"members": list(spec.members)})


def _read(job: Job[AdoptModelsSpec, NoInputs], file: str, model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a file under the names of the model."""
    path = job.root / file
    where = f"configs/settings/{job.spec.setting}.yaml: ensemble.files: {file}"
    found, partly = read_state(path), holds_adapters(path)
    state = fitted_state(found, model, where, partly=partly)
    if partly:
        other = fitted_state(found, build_model(job.spec.model, 1, job.spec.precision), where, partly=True)
        drawn = next((name for name, value in state.items() if not torch.equal(value, other[name])), None)
        if drawn:
            raise UserError(
                f"{where}: has adapters alone, and '{drawn}' of the model is drawn at random; load the base model in the "
                "model factory, or give the whole model"
            )
    for name, value in state.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise UserError(
                f"{where}: '{name}' has values that are not finite; give a checkpoint before the divergence"
            )
    return state


def _record(job: Job[AdoptModelsSpec, NoInputs], member: int, given: GivenMemberConfig) -> dict[str, Any]:
    """Return the content of ``training.json``: what is known about the training of a member."""
    times = CheckpointTimes.from_rates(given.steps, given.learning_rates)
    return {
        "member": member,
        "origin": given.files,
        "precision": job.spec.precision.value,
        "steps": list(times.steps),
        "learning_rates": list(times.learning_rates),
        "learning_rate_sums": list(times.durations),
    }

"""``proponent train-script``: train a shard of ensemble members with a training script of the user's own."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

from torch import nn

from proponent.config.specifications.step_inputs import DataInputs
from proponent.config.specifications.training_specs import TrainScriptSpec
from proponent.errors import UserError
from proponent.progress import progress
from proponent.settings.tasks import get_task
from proponent.steps.io.job import Job
from proponent.steps.io.script_output import (
    TrainingRecord,
    is_finite,
    read_checkpoint,
    read_record,
    read_weights,
)
from proponent.steps.io.setting_inputs import checked_model, load_data
from proponent.steps.io.training_script import TrainingScript, script_seed
from proponent.training.designs import member_run


def run(job: Job[TrainScriptSpec, DataInputs]) -> None:
    """Write the state dicts of every member and checkpoint, its ``training.json``, and the shard's list of them.

    What the script wrote for a member is checked before the next one is trained, and kept if the job is killed.
    """
    spec = job.spec
    data = load_data(job)
    like = checked_model(spec.model, get_task(spec.task), data, spec.setting, spec.precision)(0)
    stored = job.root / job.inputs.data
    script = TrainingScript(job, spec.setting, spec.command, stored.parent, len(data.y_train))
    trained: dict[int, Path] = {}
    for member in progress(spec.members, f"training {len(spec.members)} models"):
        name = f"member {member}"
        out = script.kept(name)
        if out is None:
            out = script.run(name, member_run(spec.seed, member))
            try:
                _check(out, spec.checkpoints, like)
            except UserError as error:
                raise script.problem(f"trained {name}: {error}") from error
            out = script.keep(name, out)
        trained[member] = out
    steps: list[list[int]] = []
    for member, out in trained.items():
        own = PurePosixPath(job.artefact).parent / f"member-{member:03d}"
        record = read_record(out, spec.checkpoints)
        for step in record.steps[:-1]:
            job.write_tensors(f"{own}/step-{step:06d}.safetensors", read_checkpoint(out, step, like))
        steps.append(record.steps)
        job.write_json(f"{own}/training.json", _described(member, job, record))
        job.write_tensors(f"{own}/final.safetensors", read_weights(out, like))
    script.charge()
    job.details["command"] = list(spec.command)
    job.write_json(job.artefact, {"members": list(spec.members), "steps": steps[0]})


def _check(out: Path, checkpoints: int, like: nn.Module) -> None:
    """Refuse a model that does not fit, is not finite, or lacks checkpoints."""
    record = read_record(out, checkpoints)
    states = {
        f"the checkpoint of step {step}": read_checkpoint(out, step, like) for step in record.steps[:-1]
    }
    for what, state in {**states, "the final model": read_weights(out, like)}.items():
        if not is_finite(state):
            raise UserError(f"{what} has weights that are not finite; lower the learning rate of the script")


def _described(member: int, job: Job[TrainScriptSpec, DataInputs], record: TrainingRecord) -> dict[str, Any]:
    """Return the content of a member's ``training.json``."""
    seed = member_run(job.spec.seed, member).init_seed
    return {
        "member": member,
        "seed": script_seed(seed),
        "precision": job.spec.precision.value,
        **{name: values for name, values in asdict(record).items() if values},
    }

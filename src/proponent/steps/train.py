"""``proponent train``: train a shard of ensemble members in lockstep, keeping checkpoints along the way."""

from __future__ import annotations

from pathlib import PurePosixPath

from proponent.config.specifications.step_inputs import DataInputs
from proponent.config.specifications.training_specs import TrainSpec
from proponent.errors import UserError
from proponent.self_check.passes import refuse_not_finite
from proponent.self_check.subject import Subject
from proponent.settings.batch_augmentation import build_augment
from proponent.settings.tasks import get_task
from proponent.steps.io.job import Job
from proponent.steps.io.lockstep_size import lockstep_of
from proponent.steps.io.setting_inputs import checked_model, load_data
from proponent.training.checkpoint_steps import checkpoint_steps
from proponent.training.designs import member_run
from proponent.training.lockstep import train
from proponent.training.stack import state_dict
from proponent.training.stages import stages_of


def run(job: Job[TrainSpec, DataInputs]) -> None:
    """Write the state dicts of every member and checkpoint, its ``training.json``, and the shard's list of them."""
    spec = job.spec
    data = load_data(job)
    recipe, members = spec.recipe, spec.members
    task = get_task(spec.task)
    build = checked_model(spec.model, task, data, spec.setting, recipe.precision)
    task, data = data.weighted(task)
    runs = [member_run(spec.seed, member) for member in members]
    stages = stages_of(recipe, runs[0], len(data.y_train))
    *steps, total = [
        stage.start + step
        for stage in stages
        for step in (*checkpoint_steps(stage.steps, spec.checkpoints), stage.steps)
    ]
    trained = train(
        build,
        data.x_train,
        data.y_train,
        task,
        recipe,
        runs,
        augment=build_augment(spec.augment),
        checkpoints=steps,
        lockstep=lockstep_of(job, build, data, task, recipe, runs, len(steps)),
        device=job.device,
    )
    if trained.diverged:
        # What was not finite before the first step is not due to the learning rate.
        subject = Subject(spec.setting, build, data, task, recipe)
        refuse_not_finite(subject, build(runs[trained.diverged[0]].init_seed))
        names = ", ".join(str(members[index]) for index in trained.diverged)
        raise UserError(
            f"configs/settings/{spec.setting}.yaml: training of member {names} diverged (its loss is not finite); "
            "lower recipe.lr"
        )
    folder = PurePosixPath(job.artefact).parent
    rates = trained.learning_rates
    for index, member in enumerate(members):
        own = folder / f"member-{member:03d}"
        for step, state in trained.checkpoints.items():
            # Frozen weights are in the final model alone: a pretrained model is stored once per member.
            trainable = state_dict(trained.template, state, index, whole=False)
            job.write_tensors(f"{own}/step-{step:06d}.safetensors", trainable)
        record = {
            "member": member,
            "init_seed": runs[index].init_seed,
            "order_seed": runs[index].order_seed,
            "precision": recipe.precision.value,
            "stacked": trained.stacked,
            "models_at_a_time": trained.together,
            "steps": [*steps, total],
            "learning_rates": [rates[index][step - 1].item() for step in [*steps, total]],
            "learning_rate_sums": [rates[index][:step].double().sum().item() for step in [*steps, total]],
            "loss": [round(value, 6) for value in trained.loss[index].tolist()],
            "loss_steps": trained.loss_steps[index].tolist(),
            "seconds": round(job.seconds() / len(members), 3),
        }
        if recipe.stages:
            record["stages"] = [
                {"examples": [stage.examples.start, stage.examples.stop], "stop": stage.stop}
                for stage in stages
            ]
        job.write_json(f"{own}/training.json", record)
        job.write_tensors(f"{own}/final.safetensors", state_dict(trained.template, trained.state, index))
    job.details["precision"] = recipe.precision.value
    job.details |= {"stacked": trained.stacked, "models_at_a_time": trained.together}
    job.write_json(job.artefact, {"members": list(members), "steps": [*steps, total]})

"""The training of a stored member, to be walked through again by methods that unroll it."""

from __future__ import annotations

from contextlib import ExitStack

from proponent.config.specifications.method_specs import AttributeSpec
from proponent.config.specifications.step_inputs import AttributeInputs
from proponent.errors import UserError
from proponent.settings.batch_augmentation import build_augment
from proponent.settings.split import Arrays
from proponent.settings.tasks import get_task
from proponent.steps.io.job import Job
from proponent.steps.io.setting_inputs import checked_model
from proponent.steps.io.stored_checkpoints import member_folder
from proponent.store.tensors import load_tensors
from proponent.training.designs import member_run
from proponent.training.replay import Replay

MAX_DRIFT = 0.05
"""Largest distance from the stored member, relative to its norm, at which a replay counts as the same training."""


def read(
    job: Job[AttributeSpec, AttributeInputs],
    need: str,
    member: int,
    data: Arrays,
    rows: slice,
    opened: ExitStack,
) -> Replay:
    """Return the training of a member, and record in the manifest how far from the stored model it ends.

    A model trained alone rounds differently from the same model in lockstep with others, and training amplifies that.

    Args:
        job: job of the method.
        need: name of the need, ``replay``.
        member: index of the member.
        data: all training examples and queries.
        rows: queries that are wanted.
        opened: files that stay open while the member is the current one; none here.

    Raises:
        UserError: the replay ends too far from the stored member.
    """
    spec = job.spec.replay
    if spec is None:
        raise ValueError("the specification of a method that needs a replay names no training")
    folder = member_folder(job, member)
    task = get_task(job.spec.task, job.spec.target)
    build = checked_model(spec.model, task, data, job.spec.setting, spec.recipe.precision)
    task, data = data.weighted(task)
    replay = Replay(
        build,
        task,
        spec.recipe,
        member_run(spec.seed, member),
        data.with_queries(rows).to(job.device),
        member,
        job.spec.memory_mib,
        augment=build_augment(spec.augment),
    )
    stored = load_tensors(folder / "final.safetensors")
    found = replay.parameters(replay.end())
    apart = sum(float((value.cpu() - stored[name]).square().sum()) for name, value in found.items())
    length = sum(float(stored[name].square().sum()) for name in found)
    drift = (apart / length) ** 0.5
    if not drift <= MAX_DRIFT:
        raise UserError(
            f"replaying member {member} ends {drift:.0%} away from the stored model: its training amplifies rounding; "
            "lower recipe.lr or smooth the model"
        )
    drifts = job.details.setdefault("replay_drift", {})
    drifts[f"member-{member:03d}"] = float(f"{drift:.3g}")
    return replay

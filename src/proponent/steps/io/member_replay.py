"""From a stored member of the ensemble to its training, to be walked through again: for methods that unroll."""

from __future__ import annotations

from pathlib import Path

import torch

from proponent.errors import UserError
from proponent.settings.split import Arrays
from proponent.steps.io.job import Job
from proponent.steps.io.setting_inputs import training_of
from proponent.store.tensors import load_tensors
from proponent.training.designs import member_run
from proponent.training.replay import Replay

MAX_DRIFT = 0.05
"""Largest distance from the stored member, relative to its length, at which a replay is of the same training."""


def replay_of(job: Job, folder: Path, member: int, data: Arrays, rows: slice) -> Replay:
    """Return the training of a member, and note in the manifest how far from the stored model it ends.

    One model alone rounds otherwise than the same model in lockstep with others, and training amplifies that.

    Args:
        job: of the method.
        folder: of the stored member.
        member: its index.
        data: all training examples and queries.
        rows: the queries that are wanted.

    Raises:
        UserError: the replay ends elsewhere than the stored member.
    """
    build, task, recipe = training_of(job, data)
    own = Arrays(data.x_train, data.y_train, data.x_query[rows], data.y_query[rows])
    device = torch.device(job.spec["device"])
    replay = Replay(
        build,
        task,
        recipe,
        member_run(job.spec["seed"], member),
        Arrays(*(tensor.to(device) for tensor in own)),
        member,
        job.spec["memory_mib"] // 2,
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

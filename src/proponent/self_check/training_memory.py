"""Memory of trainings in lockstep on a CPU, compared with ``compute.memory_mib`` before the first of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from proponent.self_check.subject import Subject
from proponent.training.designs import member_run
from proponent.training.memory import training_bytes

MIB = 2**20


def refuse_training_memory(
    subject: Subject, jobs: Sequence[tuple[str, int, int]], lockstep: int, memory_mib: int
) -> None:
    """Refuse jobs that train more models at a time than the memory holds.

    Args:
        subject: setting.
        jobs: kinds of jobs: what they make, the number of models, and the checkpoints that are kept of each.
        lockstep: ``compute.lockstep``, the largest number of models at a time.
        memory_mib: ``compute.memory_mib``.

    Raises:
        UserError: names the memory that is needed and the number of models that fits.
    """
    if subject.recipe is None:
        return
    data = subject.data
    for what, models, checkpoints in jobs:
        runs = [member_run(subject.seed, member) for member in range(models)]
        needed = training_bytes(
            subject.build,
            data.x_train,
            data.y_train,
            subject.task,
            subject.recipe,
            runs,
            device="cpu",
            checkpoints=checkpoints,
        )
        wanted, fits = min(lockstep, needed.together), needed.models_in(memory_mib * MIB)
        if fits >= wanted:
            continue
        mib = math.ceil((needed.shared + wanted * needed.own) / MIB)
        way_out = f"set compute.lockstep to {fits} in params.yaml, or raise compute.memory_mib"
        if fits < 1:
            way_out = "raise compute.memory_mib in params.yaml, or reduce the batch, the data or the models of a job"
        raise subject.problem(
            f"{what}, {wanted} models at a time, needs {mib:,} MiB, and compute.memory_mib is {memory_mib:,}; {way_out}"
        )

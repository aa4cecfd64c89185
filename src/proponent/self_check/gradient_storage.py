"""Form in which the gradients of a setting will be stored, known from sizes alone before anything is trained."""

from __future__ import annotations

import math

from proponent.features.storage_choice import StorageChoice, choose_storage
from proponent.memory_budget import MIB
from proponent.self_check.problem_sizes import Sizes
from proponent.self_check.subject import Subject
from proponent.training.checkpoint_steps import checkpoint_steps
from proponent.training.designs import member_run
from proponent.training.stages import stages_of


def gradient_storage(
    subject: Subject, sizes: Sizes, *, members: int, checkpoints: int, memory_mib: int
) -> StorageChoice | None:
    """Return the form in which a job stores the gradients of a member; None for a model without factored gradients.

    Args:
        subject: setting.
        sizes: sizes of its model.
        members: members of a job, which share the memory.
        checkpoints: ``ensemble.checkpoints``.
        memory_mib: ``compute.memory_mib``.

    Raises:
        UserError: not even the smallest projection fits.
    """
    if not sizes.factored:
        return None
    data = subject.data
    saved = checkpoints + 1
    if subject.recipe is not None:
        stages = stages_of(subject.recipe, member_run(subject.seed, 0), len(data.x_train))
        saved = sum(len(checkpoint_steps(stage.steps, checkpoints)) + 1 for stage in stages)
    rows = (len(data.x_train) + len(data.x_query)) * saved
    own_mib = max(1, memory_mib // members)
    return choose_storage(rows, sizes.factored, sizes.last, sizes.itemsize, own_mib // 2)


def projection_notice(choice: StorageChoice, members: int) -> str | None:
    """Return a sentence about gradients that will not be stored exactly; None for exact ones."""
    if choice.choice == "factored":
        return None
    exact = math.ceil(choice.factored_bytes / MIB)
    return (
        f"gradients will be projected to {choice.dim} dimensions: exact ones take {exact:,} MiB for each member; raise "
        f"compute.memory_mib to {2 * members * (exact + 1):,} for exact ones"
    )

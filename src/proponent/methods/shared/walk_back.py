"""The walk back along a training that MAGIC and DVEmb share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.methods.shared.needs import Replay, ReplayStep

Bend = Callable[[ReplayStep, Tensor], tuple[Tensor, Tensor]]
"""From a step and vectors p (k, n_parameters) to their inner products with the gradients of the batch's losses, (k, b),
and to a curvature of the batch's mean loss times them, (k, n_parameters)."""


def walk_back(replay: Replay, bend: Bend) -> Tensor:
    """Return what reaches each example's loss when the queries' targets are carried back to the start.

    Args:
        replay: of one member's training.
        bend: the curvature to carry them back with.

    Returns:
        (n_query, n_train), positive where weight on the example raises the target.

    Raises:
        UserError: it overflows.
    """
    gradients = replay.end().query_gradients()
    scores = gradients.new_zeros(len(gradients), replay.n_train)
    for queries in torch.arange(len(gradients)).split(replay.queries_at_a_time):
        adjoint = gradients.new_zeros(len(queries), replay.n_slots, gradients.shape[1])
        adjoint[:, 0] = gradients[queries]
        found = gradients.new_zeros(len(queries), replay.n_train)
        for step in replay.backward():
            push = torch.einsum("qsp,sp->qp", adjoint, step.gain.expand(-1, adjoint.shape[2]))
            along, bent = bend(step, push)
            found[:, step.examples] += along / len(step.examples)
            adjoint = torch.einsum("qsp,srp->qrp", adjoint, step.transition.expand(-1, -1, adjoint.shape[2]))
            adjoint[:, 0] += bent
        scores[queries] = found
    if not bool(scores.isfinite().all()):
        raise UserError("training is chaotic: its derivatives overflow; lower recipe.lr or smooth the model")
    return scores

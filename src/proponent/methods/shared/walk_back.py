"""The walk back along a training, step by step, that MAGIC and DVEmb share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from proponent.chunking import chunks
from proponent.errors import UserError
from proponent.methods.shared.needs import Replay, ReplayStep
from proponent.methods.shared.problem_size import ProblemSize

Products = Callable[[ReplayStep, Tensor], tuple[Tensor, Tensor]]
"""From a step and vectors (k, n_parameters) to their inner products with the gradients of the batch's losses, (k, b), and
their products with a curvature of the batch's mean loss, (k, n_parameters)."""


def memory_of_walk_back(size: ProblemSize, queries: int) -> float:
    """Return the memory for ``queries`` queries at a time, in MiB, in addition to the states that the replay keeps.

    A query has an adjoint of the optimiser's state, its successor, the adjoint of the batch's gradient, and the products
    with the curvature, twice while they are joined.
    """
    return size.vectors((2 * size.slots + 4) * queries) + size.replayed() + size.scores()


def walk_back(replay: Replay, products: Products, at_a_time: int) -> Tensor:
    """Return the derivatives of the queries' targets with respect to the examples' weights in the loss.

    The gradients of the targets are carried back from the end of training to its start.

    Args:
        replay: training of one member.
        products: products with the gradients and the curvature of a step, which decides the method.
        at_a_time: number of queries that are carried together; every block of queries walks anew.

    Returns:
        (n_query, n_train), positive where more weight on the example raises the target.

    Raises:
        UserError: the derivatives overflow.
    """
    blocks = []
    for queries in chunks(replay.n_query, at_a_time):
        gradients = replay.end().query_gradients(queries)
        adjoint = gradients.new_zeros(len(gradients), replay.n_slots, gradients.shape[1])
        adjoint[:, 0] = gradients
        found = gradients.new_zeros(len(gradients), replay.n_train)
        del gradients
        for step in replay.backward():
            push = torch.einsum("qsp,sp->qp", adjoint, step.gain.expand(-1, adjoint.shape[2]))
            along, curved = products(step, push)
            found[:, step.examples] += along / len(step.examples)
            adjoint = torch.einsum("qsp,srp->qrp", adjoint, step.transition.expand(-1, -1, adjoint.shape[2]))
            adjoint[:, 0] += curved
        blocks.append(found)
    scores = torch.cat(blocks)
    if not bool(scores.isfinite().all()):
        raise UserError("training is chaotic: its derivatives overflow; lower recipe.lr or smooth the model")
    return scores

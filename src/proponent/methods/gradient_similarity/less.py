"""LESS (Xia et al. 2024, "LESS: selecting influential data for targeted instruction tuning").

    scores[q, i] = -sum_k eta_k cos(grad f_q(theta_k), Gamma_i(theta_k))

over points k along training. Gamma_i is the direction in which the optimiser would step if its next batch were example
i alone. With the two moments m and v of Adam after t steps, and g = grad loss_i,

    Gamma_i = m' / (1 - beta1^(t+1)) / (sqrt(v' / (1 - beta2^(t+1))) + eps),   m' = beta1 m + (1 - beta1) g,
                                                                               v' = beta2 v + (1 - beta2) g^2

and with SGD Gamma_i = g. eta_k is the mean learning rate between point k - 1 and point k. Weight decay moves the
parameters by the same amount for all examples and is left out. The cosine removes the length of the gradients; in the
paper, short texts have the longest gradients and would be selected otherwise. The paper projects the gradients of
adapters; the gradients here are exact and those of all parameters.

Shapes: (n_query, n_train). Cost: one pass over the data per point, and a replay of training, because checkpoints do not
contain the moments of Adam. Fails as GradCos does: a direction does not contain how far an example moves the parameters.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from proponent.chunking import chunks
from proponent.methods.shared.needs import Replay, ReplayPoint
from proponent.methods.shared.problem_size import ProblemSize, size_of_replay
from proponent.methods.shared.resolution import unit_rows

_EXAMPLES = 256
"""Largest number of examples whose directions are in memory at the same time."""

RANGES = {"points": "[1, inf)"}


def attribute(replay: Replay, *, points: int = 4) -> Tensor:
    """Return the scores, (n_query, n_train).

    Args:
        replay: training of one member.
        points: number of points along training, evenly spaced, the last one at the end of training.
    """
    size = size_of_replay(replay)
    at_a_time = replay.budget.largest(lambda k: memory(size, k) - size.states(), size.n_query, "less")
    examples = _examples(size, at_a_time)
    scores, before = torch.zeros(()), 0
    for number in range(1, points + 1):
        point = replay.at(number / points)
        rates = replay.rates[before : point.steps] or replay.rates[point.steps - 1 : point.steps]
        before = point.steps
        cosines = [
            _cosines(point, rows, torch.arange(replay.n_train).split(examples))
            for rows in chunks(size.n_query, at_a_time)
        ]
        scores = scores - sum(rates) / len(rates) * torch.cat(cosines)
    return scores


def memory(size: ProblemSize, queries: int) -> float:
    """Return the memory for ``queries`` queries at a time, in MiB; directions of Adam take six copies of gradients."""
    vectors = 2 * queries + 6 * _examples(size, queries)
    return size.states() + size.vectors(vectors) + size.replayed() + size.scores()


def _examples(size: ProblemSize, queries: int) -> int:
    """Return the number of examples at a time: fewer only if not all queries are taken together."""
    return _EXAMPLES if queries == size.n_query else min(_EXAMPLES, queries)


def _cosines(point: ReplayPoint, rows: slice, blocks: Sequence[Tensor]) -> Tensor:
    """Return the cosines of some queries with all examples, whose indices come in blocks."""
    query = unit_rows(point.query_gradients(rows))
    return torch.cat([query @ unit_rows(point.directions(some)).T for some in blocks], 1)

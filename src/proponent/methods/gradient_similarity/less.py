"""LESS: which examples would the optimiser move the way that the query wants?

(Xia et al. 2024, "LESS: selecting influential data for targeted instruction tuning".)

    scores[q, i] = -sum_k eta_k cos(grad f_q(theta_k), Gamma_i(theta_k))

over moments k along training. Gamma_i is the direction in which the optimiser would step if its next batch were
example i alone: with Adam's two moments m and v after t steps and g = grad loss_i,

    Gamma_i = m' / (1 - beta1^(t+1)) / (sqrt(v' / (1 - beta2^(t+1))) + eps),   m' = beta1 m + (1 - beta1) g,
                                                                               v' = beta2 v + (1 - beta2) g^2

and with SGD it is g. eta_k is the mean learning rate of the part of training that moment k ends. Weight decay
moves all examples alike and is left out. The cosine takes away the length of the gradient: in the paper, that of short
texts, which would be chosen otherwise. There, gradients are those of adapters and are projected; here they are exact.

Shapes: (n_query, n_train). Cost: a pass over the data at each moment, and the training again, since the moments
of Adam are in no checkpoint. Fails as ``gradcos`` does: directions say nothing of how much an example moves.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from proponent.methods.shared.needs import Replay

_EXAMPLES = 256
"""Whose directions are written out at a time."""


def attribute(replay: Replay, *, moments: int = 4) -> Tensor:
    """Return the scores, (n_query, n_train).

    Args:
        replay: of one member's training.
        moments: how many, evenly spaced, the last at the end of training.
    """
    scores, before = torch.zeros(()), 0
    for part in range(1, moments + 1):
        moment = replay.at(part / moments)
        rates = replay.rates[before : moment.steps] or replay.rates[moment.steps - 1 : moment.steps]
        before = moment.steps
        query = normalize(moment.query_gradients(), dim=1)
        cosines = [
            query @ normalize(moment.directions(examples), dim=1).T
            for examples in torch.arange(replay.n_train).split(_EXAMPLES)
        ]
        scores = scores - sum(rates) / len(rates) * torch.cat(cosines, 1)
    return scores

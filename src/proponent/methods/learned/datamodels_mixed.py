"""Datamodels around a mixture of other methods' scores.

Methods that approximate the same retraining differently err differently, so that a mixture of them can be nearer than
its best part. For each query, with every method's scores s^k centred over the training examples and of length 1,

    p = s^1 + share * sum_k>1 s^k / sqrt(K - 1)

and ``datamodels`` are fitted around p as in :mod:`proponent.methods.learned.datamodels_prior`. The first method should be the
best one. What the share is best is seen on the tune queries.

Shapes: (n_query, n_train). Cost: that of the methods (each is charged, what they share once) and of the retrainings that
are fitted. Fails where the first method is poor.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from proponent.methods.learned import datamodels_prior
from proponent.methods.shared.needs import Retrainings, Scores


def attribute(scores: Scores, *, share: float = 0.2) -> Tensor:
    """Return the mixture, (n_query, n_train).

    Args:
        scores: of the methods, the best one first.
        share: length of what the others add.
    """
    first, *others = [_unit(own) for own in scores.values()]
    if not others:
        return first
    return first + share / len(others) ** 0.5 * torch.stack(others).sum(0)


def finish(scores: Tensor, retrainings: Retrainings) -> Tensor:
    """Return the weights of datamodels around the mixture, (n_query, n_train)."""
    return datamodels_prior.finish(scores, retrainings)


def _unit(scores: Tensor) -> Tensor:
    centred = scores - scores.mean(1, keepdim=True)
    return normalize(centred, dim=1, eps=torch.finfo(scores.dtype).tiny)

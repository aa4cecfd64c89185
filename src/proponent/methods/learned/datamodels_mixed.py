"""Datamodels around a mixture of other methods' scores.

Methods that approximate the same retraining differently have different errors, so that a mixture of them can be nearer
to it than its best part. For each query, with the scores s^k of every method centred over the training examples and
scaled to length 1,

    p = s^1 + share * sum_k>1 s^k / sqrt(K - 1)

and datamodels are fitted around p as in ``datamodels_prior``. The first method should be the best one. The share is
tuned.

Shapes: (n_query, n_train). Cost: that of the mixed methods (each is charged, their common inputs once) and of the
retrainings. Fails where the first method is poor.
"""

from __future__ import annotations

import torch
from torch import Tensor

from proponent.methods.shared.needs import Retrainings, Scores
from proponent.methods.shared.resolution import spread_is_rounding, unit_rows
from proponent.methods.shared.retraining_regression import weights_around_prior


def attribute(scores: Scores, *, share: float = 0.2) -> Tensor:
    """Return the mixture p, (n_query, n_train).

    Args:
        scores: scores of the methods, the best one first.
        share: length of the sum of the other methods' scores, relative to the first method's.
    """
    first, *others = [_unit(own) for own in scores.values()]
    if not others:
        return first
    return first + share / len(others) ** 0.5 * torch.stack(others).sum(0)


def finish(scores: Tensor, retrainings: Retrainings) -> Tensor:
    """Return the weights of datamodels around the mixture, (n_query, n_train).

    Args:
        scores: mixture p.
        retrainings: retrainings of the ``fit`` design.
    """
    return weights_around_prior(retrainings, scores, "shared")


def _unit(scores: Tensor) -> Tensor:
    centred = scores - scores.mean(1, keepdim=True)
    constant = spread_is_rounding(scores, 1)[:, None]
    return torch.where(constant, 0.0, unit_rows(centred))

"""DataInf: influence functions with the inverse of a mean replaced by the mean of inverses.

(Kwon et al. 2024, "DataInf: efficiently estimating data influence in LoRA-tuned LLMs and diffusion models".)

With G_j the gradient of example j's loss with respect to the d_l parameters of one layer, the inverse of the damped
empirical Fisher matrix is approximated by the mean over examples of inverses that are known in closed form,

    M_l = (1/n) sum_j (G_j G_j^T + lambda_l)^-1 = (1 / lambda_l) (1/n) sum_j (1 - G_j G_j^T / (lambda_l + ||G_j||^2))

and ``scores[q, i] = -(1/n) sum_l grad f_q^T M_l G_i`` with ``lambda_l = damping * mean_j ||G_j||^2 / d_l``.

Shapes: (n_query, n_train). Cost: the Gram matrix of each layer's gradients, n^2 numbers at a time, and a
product of n_query x n x n operations. Meant for the small layers of LoRA, because its error grows with d_l. For
large dampings it is the gradient dot product; for small ones it ignores how other examples curve a direction.
"""

from __future__ import annotations

import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.methods.shared.needs import Gradients
from proponent.methods.shared.problem_size import ProblemSize
from proponent.methods.shared.resolution import (
    ABSOLUTE,
    SATURATED,
    SMALLEST_SQUARE,
    check_finite,
    rounding,
    vanished,
)


def attribute(gradients: Gradients, *, checkpoint: float = 1.0, damping: float = 0.1) -> Tensor:
    """Return the scores, (n_query, n_train).

    Args:
        gradients: gradients of one member.
        checkpoint: fraction of training.
        damping: in units of the mean squared entry of the layer's gradients.

    Raises:
        UserError: the damping is below rounding, or the gradients of the losses vanish.
    """
    pair = gradients.at(checkpoint)
    if pair.loss_weight.max() < SATURATED:
        raise vanished("the gradient of every training loss")
    n = len(pair.train)
    total = torch.zeros(())
    for train, query in zip(pair.train.by_layer(), pair.query.by_layer(), strict=True):
        # gradients of the target; those of the loss are -loss_weight times these
        cross, gram = query.inner(train) * pair.loss_weight, train.inner(train)
        gram *= pair.loss_weight * pair.loss_weight[:, None]
        own = gram.diagonal()
        if _has_no_gradient(own, cross):
            continue
        shift = _damping(own, train.n_parameters, damping)
        left = cross - cross / (shift + own) @ gram / n
        if left.abs().max() <= rounding(left) * cross.abs().max():
            raise UserError(
                f"damping {damping:g} leaves differences of one layer that are rounding errors: use a larger one"
            )
        total = total + left / (n * shift)
    if not total.ndim:
        raise vanished("the gradient of every example")
    return total


def memory(size: ProblemSize, queries: int) -> float:
    """Return the memory in MiB: the Gram matrix of a layer and two products of its size."""
    return size.numbers(3 * size.n_train**2) + size.scores(6)


def self_influence(gradients: Gradients, *, checkpoint: float, damping: float) -> Tensor:
    """Return the score of each training example on its own ``-loss``, (n_train,), never negative."""
    pair = gradients.at(checkpoint)
    if pair.loss_weight.max() < SATURATED:
        raise vanished("the gradient of every training loss")
    n = len(pair.train)
    total = torch.zeros(())
    for train in pair.train.by_layer():
        gram = train.inner(train) * pair.loss_weight * pair.loss_weight[:, None]
        own = gram.diagonal()
        if _has_no_gradient(own, own):
            continue
        shift = _damping(own, train.n_parameters, damping)
        total = total + (own - (gram**2 / (shift + own)).sum(1) / n) / (n * shift)
    if not total.ndim:
        raise vanished("the gradient of every example")
    return total


def _has_no_gradient(own: Tensor, cross: Tensor) -> bool:
    """Return whether a layer has no gradient, and so no part in the scores.

    Args:
        own: squared norms of the layer's gradients of the training losses.
        cross: inner products with the gradients of the queries.

    Raises:
        UserError: only the gradients of the losses vanish, or products overflow.
    """
    check_finite(own, cross)
    if own.max() > SMALLEST_SQUARE:
        return False
    if cross.abs().max() > SMALLEST_SQUARE:
        raise vanished("the gradient of every training loss")
    return True


def _damping(squares: Tensor, n_parameters: int, damping: float) -> Tensor:
    """Return lambda_l, absolute, from the squared norms of the layer's gradients.

    Raises:
        UserError: lambda_l is below the rounding errors of a squared entry, and would be divided by.
    """
    if damping <= rounding(squares):
        raise ABSOLUTE.too_small(damping, 2 * rounding(squares))
    return damping * squares.mean() / n_parameters

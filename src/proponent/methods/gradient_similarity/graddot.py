"""GradDot and GradCos: inner products and cosines of the gradients of queries and training examples.

GradDot (Charpiat et al. 2019, "Input similarity from the neural network perspective"): to first order, a gradient step
on the loss of example i changes the target of query q by ``-g_q . grad loss_i = w_i <grad f_q, grad f_i>``, where
``w_i`` is the loss weight (``1 - p_i`` for classification). GradCos divides by both norms, so that neither the loss of
the example nor a few large gradients dominate.

Shapes: (n_query, n_train). Cost: one cross product of gradients. All directions of parameter space are treated as
equally curved, so the scores are far from influence functions where the curvature is uneven.
"""

from __future__ import annotations

from torch import Tensor

from proponent.methods.shared.needs import Gradients
from proponent.methods.shared.resolution import SMALLEST_SQUARE, cosines


def attribute(gradients: Gradients, *, normalise: bool = False, checkpoint: float = 1.0) -> Tensor:
    """Return the inner products, or with ``normalise`` the cosines, of query and training gradients.

    Args:
        gradients: gradients of one member.
        normalise: division by both norms (GradCos); an example without gradient (shorter than 3e-16) then scores 0.
        checkpoint: fraction of training after which the gradients are taken.
    """
    pair = gradients.at(checkpoint)
    inner = pair.query.inner(pair.train)
    if not normalise:
        return inner * pair.loss_weight
    return cosines(inner, pair.query.norms_squared(), pair.train.norms_squared())


def self_influence(gradients: Gradients, *, normalise: bool, checkpoint: float) -> Tensor:
    """Return each example's score on its own ``-loss``, (n_train,): ``||grad loss_i||^2``, or 1 for the cosine.

    The cosine of an example without gradient is 0.
    """
    pair = gradients.at(checkpoint)
    squares = pair.train.norms_squared()
    if normalise:
        return (squares > SMALLEST_SQUARE).to(pair.loss_weight)
    return pair.loss_weight**2 * squares

"""MAGIC: the exact derivative of a trained model by the weights of its training examples.

(Ilyas & Engstrom 2025, "MAGIC: near-optimal data attribution for deep learning"; metagradients: Engstrom et al.
2025; for plain SGD: Hara et al. 2019.)

A run is a function of the weights w of its examples: with batch B_t and the optimiser's state x_t (parameters
and moments),

    x_{t+1} = U_t(x_t, G_t),    G_t = (1/|B_t|) sum_{i in B_t} w_i grad loss_i(theta_t)
    scores[q, i] = d f_q(theta_T) / d w_i

at w = 1. Walking back with a_T = grad f_q, and p_t = (dU_t/dG)ᵀ a_{t+1} what reaches the batch's gradient,

    scores[q, i] += p_t . grad loss_i(theta_t) / |B_t|  for i in B_t,      a_t = (dU_t/dx)ᵀ a_{t+1} + H_t p_t

H_t is the Hessian of the batch's loss. All queries are carried back together, the states computed again from
every sqrt(T)-th. Shapes: (n_query, n_train). Cost: T Hessian products with every query on a batch, which is
(n_query x 3 or so) trainings. It is the derivative for *this* initialisation and order of batches: other seeds
have others, and leaving out much is no small change of w. Fails where training is chaotic: the derivatives
then grow without bound and say nothing of finite changes; smooth activations, large batches and lower
learning rates help.
"""

from __future__ import annotations

from torch import Tensor

from proponent.methods.shared.needs import Replay
from proponent.methods.shared.walk_back import walk_back


def attribute(replay: Replay) -> Tensor:
    """Return the derivatives of the targets by the weights of the examples, (n_query, n_train).

    Args:
        replay: of one member's training.

    Raises:
        UserError: the derivatives overflow.
    """
    return walk_back(replay, lambda step, vectors: step.gradient_and_hessian_products(vectors))

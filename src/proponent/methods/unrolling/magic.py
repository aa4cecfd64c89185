"""MAGIC: the exact derivative of a trained model with respect to the weights of its training examples.

(Ilyas & Engstrom 2025, "MAGIC: near-optimal data attribution for deep learning"; metagradients: Engstrom et al. 2025; for
plain SGD: Hara et al. 2019.)

The result of training is a function of the weights w of the examples. With batch B_t and the state x_t (parameters and
the optimiser's moments),

    x_{t+1} = U_t(x_t, G_t),    G_t = (1/|B_t|) sum_{i in B_t} w_i grad loss_i(theta_t)
    scores[q, i] = d f_q(theta_T) / d w_i

at w = 1. Backwards from a_T = grad f_q, with p_t = (dU_t/dG)ᵀ a_{t+1} the adjoint of the batch's gradient,

    scores[q, i] += p_t . grad loss_i(theta_t) / |B_t|  for i in B_t,      a_t = (dU_t/dx)ᵀ a_{t+1} + H_t p_t

H_t is the Hessian of the batch's loss. All queries are propagated together, and states are recomputed from every
sqrt(T)-th.

Shapes: (n_query, n_train). Cost: T Hessian products per query, each on one batch: about 3 n_query trainings. The
derivative is that of one initialisation and one order of batches, and other seeds have others; leaving out many examples
is not a small change of w. Fails where training is chaotic: the derivatives then grow without bound and do not predict
finite changes. Smooth activations, large batches and lower learning rates help.
"""

from __future__ import annotations

from torch import Tensor

from proponent.methods.shared.needs import Replay
from proponent.methods.shared.problem_size import ProblemSize, size_of_replay
from proponent.methods.shared.walk_back import memory_of_walk_back, walk_back


def attribute(replay: Replay) -> Tensor:
    """Return the derivatives of the targets with respect to the weights of the examples, (n_query, n_train).

    Args:
        replay: training of one member.

    Raises:
        UserError: the derivatives overflow, or not even one query fits into memory.
    """
    size = size_of_replay(replay)
    at_a_time = replay.budget.largest(lambda k: memory(size, k) - size.states(), size.n_query, "magic")
    return walk_back(replay, lambda step, vectors: step.gradient_and_hessian_products(vectors), at_a_time)


def memory(size: ProblemSize, queries: int) -> float:
    """Return the memory for ``queries`` queries at a time, in MiB."""
    return size.states() + memory_of_walk_back(size, queries)

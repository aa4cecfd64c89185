"""DVEmb: an example's path through the rest of training, with the Fisher matrix of each batch.

(Wang et al. 2025, "Capturing the temporal dependence of training data influence"; data value embedding.)

Had example i not been in the batch of step t, the final parameters would differ by its step carried on through
all later ones,

    emb_i^t = (eta_t / |B_t|) [prod_{k>t} (I - eta_k F_k)] grad loss_i(theta_t),
    scores[q, i] = -sum_{t: i in B_t} <grad f_q(theta_T), emb_i^t>,     F_k = (1/|B_k|) sum_{j in B_k} g_j g_jᵀ

where g_j are the gradients of the batch's losses: their Fisher matrix stands for the Hessian. That is
:mod:`proponent.methods.unrolling.magic` with another curvature, and with the optimiser's own update in the place of SGD's, so
momentum, weight decay and Adam are as they were. The paper projects gradients and stores an embedding for each
example and epoch; here the queries are carried back instead, which needs neither and gives the same products.

Shapes: (n_query, n_train). Cost: the training again, the gradients of every batch, and two products of each
with all queries a step: no Hessian products. Fails as MAGIC does, and where the Fisher matrix of a batch is no Hessian
(early in training, or with labels that the model gets wrong).
"""

from __future__ import annotations

from torch import Tensor

from proponent.methods.shared.needs import Replay, ReplayStep
from proponent.methods.shared.walk_back import walk_back


def attribute(replay: Replay) -> Tensor:
    """Return the effect of the examples' steps on the targets, (n_query, n_train).

    Args:
        replay: of one member's training.

    Raises:
        UserError: the products overflow.
    """
    return walk_back(replay, _fisher)


def _fisher(step: ReplayStep, vectors: Tensor) -> tuple[Tensor, Tensor]:
    gradients = step.gradients()
    along = vectors @ gradients.T
    return along, along @ gradients / len(gradients)

"""DVEmb: the effect of an example's steps through the rest of training, with the Fisher matrix of each batch.

(Wang et al. 2025, "Capturing the temporal dependence of training data influence"; data value embedding.)

Without example i in the batch of step t, the final parameters would differ by its step, propagated through all later
steps,

    emb_i^t = (eta_t / |B_t|) [prod_{k>t} (I - eta_k F_k)] grad loss_i(theta_t),
    scores[q, i] = -sum_{t: i in B_t} <grad f_q(theta_T), emb_i^t>,     F_k = (1/|B_k|) sum_{j in B_k} g_j g_jᵀ

where g_j are the gradients of the batch's losses: their Fisher matrix approximates the Hessian. This is MAGIC with
another curvature, and with the update of the actual optimiser instead of SGD's, so that momentum, weight decay and Adam
are included. The paper projects gradients and stores one embedding per example and epoch; here the gradients of the
queries are propagated backwards instead, which needs neither and gives the same products.

Shapes: (n_query, n_train). Cost: a replay of training, the gradients of every batch, and two products with all queries
per step; no Hessian products. Fails as MAGIC does, and where the Fisher matrix of a batch is a poor approximation of the
Hessian (early in training, or for labels that the model predicts wrongly).
"""

from __future__ import annotations

from torch import Tensor

from proponent.methods.shared.needs import Replay, ReplayStep
from proponent.methods.shared.problem_size import ProblemSize, size_of_replay
from proponent.methods.shared.walk_back import memory_of_walk_back, walk_back


def attribute(replay: Replay) -> Tensor:
    """Return the effect of the examples' steps on the targets, (n_query, n_train).

    Args:
        replay: training of one member.

    Raises:
        UserError: the products overflow, or not even one query fits into memory.
    """
    size = size_of_replay(replay)
    at_a_time = replay.budget.largest(lambda k: memory(size, k) - size.states(), size.n_query, "dvemb")
    return walk_back(replay, _gradient_and_fisher_products, at_a_time)


def memory(size: ProblemSize, queries: int) -> float:
    """Return the memory for ``queries`` queries at a time, in MiB; a batch's gradients are twice there while joined."""
    return size.states() + memory_of_walk_back(size, queries) + size.vectors(2 * size.batch)


def _gradient_and_fisher_products(step: ReplayStep, vectors: Tensor) -> tuple[Tensor, Tensor]:
    gradients = step.gradients()
    along = vectors @ gradients.T
    return along, along @ gradients / len(gradients)

"""LoGra: influence functions with layers projected from both sides.

(Choe et al. 2024, "What is your data worth to GPT? LLM-scale data valuation with influence functions".)

The gradient of a layer is ``sum_t l_t r_t^T`` over positions. It is projected without being formed, to
``v = vec(sum_t (P_out l_t) (P_in r_t)^T)`` of side x side numbers, and influence is computed there, layer by
layer, with the empirical Fisher matrix ``F_l = (1/n) sum_i w_i^2 v_i v_i^T`` of the training losses:

    scores[q, i] = (w_i / n) sum_l v_q^T (F_l + d_l)^-1 v_i,       d_l = damping * mean eigenvalue of F_l

P_out and P_in are seeded Gaussian matrices, a different pair for each member. (The paper offers the leading
eigenvectors of K-FAC's factors as well.) A side no wider than ``side`` is not projected.

Shapes: (n_query, n_train). Cost: a pass over the gradients' factors and an eigendecomposition of side^2 rows
for each layer; one serves all dampings. Fails where side^2 is less than the rank that matters, and as influence
functions with the empirical Fisher matrix do, which differs from the curvature where the model has fitted its data.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from proponent.methods.shared.fisher import (
    FisherLayer,
    influence,
    kept_layers,
    memory_of_layers,
    squared_lengths,
)
from proponent.methods.shared.needs import Curvature, GradientBlock, Network, Workspace
from proponent.methods.shared.problem_size import ProblemSize, size_of_network
from proponent.seeds import derive_seed

RANGES = {"side": "[1, inf)"}


def attribute(
    network: Network,
    workspace: Workspace,
    *,
    side: int = 32,
    checkpoint: float = 1.0,
    damping: float = 0.1,
    seed: int = 0,
) -> Tensor:
    """Return the scores, (n_query, n_train).

    Args:
        network: one member.
        workspace: keeps the projected gradients from damping to damping.
        side: dimensions to which each side of a layer is projected.
        checkpoint: fraction of training.
        damping: in units of the mean eigenvalue of each layer.
        seed: seed of the projection, mixed with the index of the member.
    """
    model = network.at(checkpoint)
    model.budget.require(memory(size_of_network(model), 1, side=side), "logra")
    layers = _layers(model, workspace, side, derive_seed(seed, "logra", network.member))
    return influence(layers, damping) * (model.loss_weight / model.n_train)


def self_influence(
    network: Network, workspace: Workspace, *, side: int, checkpoint: float, damping: float, seed: int
) -> Tensor:
    """Return the score of each training example on its own ``-loss``, (n_train,)."""
    model = network.at(checkpoint)
    layers = _layers(model, workspace, side, derive_seed(seed, "logra", network.member))
    return squared_lengths(layers, damping, "train") * model.loss_weight**2 / model.n_train


def memory(size: ProblemSize, queries: int, *, side: int) -> float:
    """Return the memory in MiB: the projected gradients of all layers."""
    return memory_of_layers(size, [min(side, rows) * min(side, columns) for rows, columns in size.layers()])


def _layers(model: Curvature, workspace: Workspace, side: int, seed: int) -> list[FisherLayer]:
    def project(block: GradientBlock) -> Sequence[GradientBlock]:
        return block.project_sides(side, "gaussian", seed)

    return kept_layers(model, workspace, ("logra", side, seed), lambda: project)

"""TrackStar: cosines of projected and whitened gradients.

(Chang et al. 2025, "Scalable influence and fact tracing for large language model pretraining".)

    G(z) = R^-1/2 P (grad loss(z) / sqrt(V)),        scores[q, i] = G(q) . G(i) / (||G(q)|| ||G(i)||)

P projects each layer from both sides to side x side dimensions. V is the optimiser's second moment, which
equalises the scales of parameters: ``second_moment="gradients"`` takes the mean over the training set of the
squared gradients of the loss, which Adam's second moment estimates; ``"none"`` is 1, as for SGD. R is, layer by
layer, the mean outer product of the projected gradients, ``mixing * R_query + (1 - mixing) * R_train``, plus
``damping`` times its mean eigenvalue. Its first term damps directions that all queries share (a template); a
mixing of 0 suits queries from the distribution of the training examples.

The gradient of a loss is ``-w`` times that of the target, and w cancels in the cosine, for queries and examples.

Shapes: (n_query, n_train). Cost: the gradients as a dense matrix, once, where V is not 1, and one eigendecomposition
of side^2 rows per layer, which serves all dampings. Fails to predict the effects of groups: without lengths, an effect
is not the sum of scores. Made for finding examples.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from proponent.methods.shared.fisher import (
    FisherLayer,
    Projection,
    influence,
    kept_layers,
    memory_of_layers,
    squared_lengths,
)
from proponent.methods.shared.needs import Curvature, Network, Workspace
from proponent.methods.shared.problem_size import ProblemSize, size_of_network
from proponent.methods.shared.resolution import cosines
from proponent.seeds import derive_seed

RANGES = {"side": "[1, inf)", "mixing": "[0, 1]"}


def attribute(
    network: Network,
    workspace: Workspace,
    *,
    side: int = 32,
    second_moment: Literal["gradients", "none"] = "gradients",
    mixing: float = 0.0,
    checkpoint: float = 1.0,
    damping: float = 0.1,
    seed: int = 0,
) -> Tensor:
    """Return the scores, (n_query, n_train).

    Args:
        network: one member.
        workspace: keeps the projected gradients from damping to damping.
        side: dimensions to which each side of a layer is projected.
        second_moment: V above.
        mixing: share of the queries' outer products in R, in [0, 1].
        checkpoint: fraction of training.
        damping: in units of the mean eigenvalue of each layer.
        seed: seed of the projection, mixed with the index of the member.
    """
    model = network.at(checkpoint)
    model.budget.require(memory(size_of_network(model), 1, side=side), "trackstar")
    stream = derive_seed(seed, "trackstar", network.member)
    layers = _layers(model, workspace, side, second_moment, mixing, stream)
    inner = influence(layers, damping)
    return cosines(inner, *(squared_lengths(layers, damping, side) for side in ("query", "train")))


def memory(size: ProblemSize, queries: int, *, side: int) -> float:
    """Return the memory in MiB: the projected gradients of all layers."""
    return memory_of_layers(size, [min(side, rows) * min(side, columns) for rows, columns in size.layers()])


def _layers(
    model: Curvature, workspace: Workspace, side: int, second_moment: str, mixing: float, seed: int
) -> list[FisherLayer]:
    def projection() -> Projection:
        scale = None
        if second_moment == "gradients":
            squares = model.train.mean_squares(model.loss_weight)
            # a parameter that no example moves has neither a scale nor a gradient
            scale = torch.where(squares > 0, squares, torch.ones_like(squares)).rsqrt()
        return lambda block: block.project_sides(side, "gaussian", seed, scale)

    return kept_layers(model, workspace, ("trackstar", side, second_moment, mixing, seed), projection, mixing)

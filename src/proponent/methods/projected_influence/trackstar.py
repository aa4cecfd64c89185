"""TrackStar: cosines of projected gradients, whitened by their second moment.

(Chang et al. 2025, "Scalable influence and fact tracing for large language model pretraining".)

    G(z) = R^-1/2 P (grad loss(z) / sqrt(V)),        scores[q, i] = G(q) . G(i) / (||G(q)|| ||G(i)||)

P projects each layer from both sides to side x side dimensions. V is the optimiser's second moment, which
evens out the scales of parameters: ``second_moment="gradients"`` takes the mean over the training set of the
squared gradients of the loss, which Adam's estimates; ``"none"`` is 1, as for SGD. R is, layer by layer, the
second moment of the projected gradients, ``mixing * R_query + (1 - mixing) * R_train``, plus ``damping`` times
its mean eigenvalue: directions that all queries share (a template) are damped by the first. 0 suits queries
that are drawn as the training examples are.

The gradient of a loss is ``-w`` times that of the target, and w cancels in the cosine, on both sides.
``normalise=False`` keeps the lengths, and w.

Shapes: (n_query, n_train). Cost: the gradients written out once where V is not 1, and an eigendecomposition
of side^2 rows a layer; one serves all dampings. Fails at sums: lengths are gone, so that a group's effect is
not the sum of its scores. Made for finding examples, not for adding them up.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from proponent.methods.shared.fisher import FisherLayer, fisher_layers, influence, squared_lengths
from proponent.methods.shared.needs import Curvature, Network
from proponent.methods.shared.solvers import keep
from proponent.seeds import derive_seed


def attribute(
    network: Network,
    *,
    side: int = 32,
    second_moment: Literal["gradients", "none"] = "gradients",
    mixing: float = 0.0,
    normalise: bool = True,
    checkpoint: float = 1.0,
    damping: float = 0.1,
    seed: int = 0,
) -> Tensor:
    """Return the scores, (n_query, n_train).

    Args:
        network: one member.
        side: dimensions to which each side of a layer is projected.
        second_moment: V above.
        mixing: share of the queries' second moment in R, in [0, 1].
        normalise: divide by both lengths; else scores are influence.
        checkpoint: fraction of training.
        damping: over the mean eigenvalue of each layer.
        seed: of the projection, mixed with the number of the member.
    """
    model = network.at(checkpoint)
    stream = derive_seed(seed, "trackstar", network.member)
    layers = _layers(model, side, second_moment, mixing, stream)
    inner = influence(layers, damping)
    if not normalise:
        return inner * (model.loss_weight / model.n_train)
    lengths = [squared_lengths(layers, damping, which).sqrt() for which in ("query", "train")]
    tiny = torch.finfo(inner.dtype).tiny
    return inner / (lengths[0][:, None] * lengths[1]).clamp_min(tiny)


def _layers(model: Curvature, side: int, second_moment: str, mixing: float, seed: int) -> list[FisherLayer]:
    def make() -> list[FisherLayer]:
        scale = None
        if second_moment == "gradients":
            squares = model.train.mean_squares(model.loss_weight)
            # a parameter that no example moves has no scale, and no gradient
            scale = torch.where(squares > 0, squares, torch.ones_like(squares)).rsqrt()
        train, query = (
            block.project_sides(side, "gaussian", seed, scale) for block in (model.train, model.query)
        )
        return fisher_layers(train, query, model.loss_weight, mixing)

    return keep(model, ("trackstar", side, second_moment, mixing, seed), make)

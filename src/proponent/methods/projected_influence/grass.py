"""GraSS and FactGraSS: influence functions on sparsified and sparsely projected gradients.

(Hu et al. 2025, "GraSS: scalable data attribution with gradient sparsification and sparse projection".)

GraSS (``factored=False``) keeps ``blowup * dim`` random coordinates of the whole gradient and projects them to
``dim`` dimensions by a sparse Johnson-Lindenstrauss transform. FactGraSS (``factored=True``) does so for each
layer, without forming its gradient: it keeps random coordinates of the layer's inputs and of its output
gradients, so many of each that there are ``blowup * dim`` products, and projects the products, summed over
positions, to ``dim`` dimensions. Influence is then as in LoGra,

    scores[q, i] = (w_i / n) sum_l v_q^T (F_l + d_l)^-1 v_i,       d_l = damping * mean eigenvalue of F_l

with ``F_l = (1/n) sum_i w_i^2 v_i v_i^T`` (for GraSS, one matrix for all layers). Masks are random, not learned; the
transform has four entries in each column where the paper's has one.

Shapes: (n_query, n_train). Cost: a pass over the gradients, of which only the chosen coordinates are computed,
and one eigendecomposition of dim rows (per layer), which serves all dampings. Fails where few coordinates hold
most of a gradient, which a random mask misses.
"""

from __future__ import annotations

import math

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

RANGES = {"dim": "[1, inf)", "blowup": "[1, inf)"}


def attribute(
    network: Network,
    workspace: Workspace,
    *,
    factored: bool = False,
    dim: int = 2048,
    blowup: int = 4,
    checkpoint: float = 1.0,
    damping: float = 0.1,
    seed: int = 0,
) -> Tensor:
    """Return the scores, (n_query, n_train).

    Args:
        network: one member.
        workspace: keeps the projected gradients from damping to damping.
        factored: whether each layer is masked and projected (FactGraSS) instead of the whole gradient (GraSS).
        dim: dimensions after the projection, of the gradient or of each layer.
        blowup: number of coordinates that are kept, in units of ``dim``.
        checkpoint: fraction of training.
        damping: in units of the mean eigenvalue (of each layer).
        seed: seed of masks and projections, mixed with the index of the member.
    """
    model = network.at(checkpoint)
    need = memory(size_of_network(model), 1, factored=factored, dim=dim, blowup=blowup)
    model.budget.require(need, "grass")
    layers = _layers(model, workspace, factored, dim, blowup, derive_seed(seed, "grass", network.member))
    return influence(layers, damping) * (model.loss_weight / model.n_train)


def self_influence(
    network: Network,
    workspace: Workspace,
    *,
    factored: bool,
    dim: int,
    blowup: int,
    checkpoint: float,
    damping: float,
    seed: int,
) -> Tensor:
    """Return the score of each training example on its own ``-loss``, (n_train,)."""
    model = network.at(checkpoint)
    layers = _layers(model, workspace, factored, dim, blowup, derive_seed(seed, "grass", network.member))
    return squared_lengths(layers, damping, "train") * model.loss_weight**2 / model.n_train


def memory(size: ProblemSize, queries: int, *, factored: bool, dim: int, blowup: int) -> float:
    """Return the memory in MiB, whatever the number of queries: the coordinates that are kept, and their projections."""
    layers = len(size.layers()) if factored else 1
    kept = layers * min(blowup * dim, size.n_parameters) * (size.n_train + size.n_query)
    return size.numbers(kept) + memory_of_layers(size, [min(dim, size.n_parameters)] * layers)


def _layers(
    model: Curvature, workspace: Workspace, factored: bool, dim: int, blowup: int, seed: int
) -> list[FisherLayer]:
    def sketch(block: GradientBlock) -> list[GradientBlock]:
        side = math.isqrt(blowup * dim)
        kept = block.project_sides(side, "mask", seed) if factored else [block.mask(blowup * dim, seed)]
        return [layer if layer.n_parameters <= dim else layer.project(dim, "sparse", seed) for layer in kept]

    return kept_layers(model, workspace, ("grass", factored, dim, blowup, seed), lambda: sketch)

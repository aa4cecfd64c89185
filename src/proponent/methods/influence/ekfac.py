"""Influence functions with Kronecker-factored curvature: K-FAC, EK-FAC, and RelatIF based on them.

(Martens & Grosse 2015; George et al. 2018; Grosse et al. 2023, "Studying large language model generalization with
influence functions"; relative influence: Barshan et al. 2020.)

The Gauss-Newton matrix is replaced by one block per layer, diagonal in the eigenbasis ``Q_S ⊗ Q_A`` of the layer's
Kronecker factors. With c = Q_Sᵀ G Q_A the coordinates of a gradient G of the target f in that basis,

    scores[q, i] = (w_i / n) sum_jk  c_q[j,k] c_i[j,k] / (L[j,k] + lambda)

where ``L`` are the products of the factors' eigenvalues (K-FAC, ``eigenvalues="product"``), or the exact
diagonal of the Gauss-Newton matrix in that basis (EK-FAC, ``"corrected"``), the best possible diagonal, and
lambda = weight_decay + damping x the mean of the layer's L (Grosse et al. use 0.1). One basis serves all dampings.

RelatIF divides by the size of the example's own effect on the model: ``relative="loss"`` by
``sqrt(grad_iᵀ M grad_i)`` (l-RelatIF), ``"parameter"`` by ``||M grad_i||`` (theta-RelatIF), M the inverse.

Shapes: (n_query, n_train). Cost: two backward passes per output (or label draw), an eigendecomposition of each factor, and
a product of all gradients with the queries. Fails where layers interact, and where influence functions do.
"""

from __future__ import annotations

import warnings
from typing import Literal

import torch
from torch import Tensor

from proponent.methods.shared.kronecker_inverse import damped_inverse
from proponent.methods.shared.label_draws import label_draws
from proponent.methods.shared.needs import Curvature, KroneckerBasis, Network, RotatedGradients, Workspace
from proponent.methods.shared.problem_size import ProblemSize, query_blocks
from proponent.methods.shared.resolution import over_lengths
from proponent.notes import Note
from proponent.seeds import derive_seed


def attribute(
    network: Network,
    workspace: Workspace,
    *,
    eigenvalues: Literal["corrected", "product"] = "corrected",
    relative: Literal["none", "loss", "parameter"] = "none",
    checkpoint: float = 1.0,
    damping: float = 1.0,
    samples: int = 1,
    seed: int = 0,
) -> Tensor:
    """Return the influence on the target, (n_query, n_train).

    Args:
        network: one member.
        workspace: keeps the basis from damping to damping.
        eigenvalues: L above.
        relative: size of the example's effect that scores are divided by.
        checkpoint: fraction of training.
        damping: in units of the mean L of each layer.
        samples: label draws per example, for models with more than 32 outputs; the expectation is exact for others.
        seed: seed of the draws, mixed with the index of the member.

    Raises:
        UserError: the damped curvature of a layer is zero, or singular up to rounding.
    """
    model = network.at(checkpoint)
    blocks = query_blocks(model, memory, "ekfac")
    basis = _basis(model, workspace, samples, derive_seed(seed, "ekfac", network.member))
    train = basis.rotate(model.train)
    inverse = damped_inverse(model, basis, train, eigenvalues, damping)
    scores = torch.cat([basis.rotate(some).inner(train, inverse) for some in blocks])
    if relative == "none":
        return scores * (model.loss_weight / model.n_train)
    # the weight of the example's loss is a factor of both, and cancels
    return _over_lengths(scores, train, inverse, relative)


def memory(size: ProblemSize, queries: int) -> float:
    """Return the memory for ``queries`` queries at a time, in MiB: the basis, and the rotated gradients of a layer.

    Those of queries may have to be written out, for all layers at once in the worst case.
    """
    sides = max((rows + columns for rows, columns in size.layers()), default=0) * size.n_train
    return size.kronecker() + size.vectors(queries) + size.numbers(2 * sides) + size.scores()


def self_influence(
    network: Network,
    workspace: Workspace,
    *,
    eigenvalues: Literal["corrected", "product"],
    relative: Literal["none", "loss", "parameter"],
    checkpoint: float,
    damping: float,
    samples: int,
    seed: int,
) -> Tensor:
    """Return the influence of each training example on its own ``-loss``, (n_train,)."""
    model = network.at(checkpoint)
    basis = _basis(model, workspace, samples, derive_seed(seed, "ekfac", network.member))
    train = basis.rotate(model.train)
    inverse = damped_inverse(model, basis, train, eigenvalues, damping)
    own = train.squares_inner(inverse[None])[:, 0]
    if relative == "none":
        return own * model.loss_weight**2 / model.n_train
    return model.loss_weight * _over_lengths(own, train, inverse, relative)


def _basis(model: Curvature, workspace: Workspace, samples: int, seed: int) -> KroneckerBasis:
    draws = label_draws(model.n_outputs, samples)
    basis = workspace.keep(model.train, ("kronecker", draws, seed), lambda: model.kronecker(draws, seed))
    if basis.approximated:
        sides = f"a side of {', '.join(basis.approximated)}"
        warnings.warn(f"{sides} is too wide to diagonalise and keeps its own axes", Note, stacklevel=2)
    return basis


def _over_lengths(scores: Tensor, train: RotatedGradients, inverse: Tensor, relative: str) -> Tensor:
    """Return scores (..., n_train) divided by the size of each example's own effect; 0 for an example without effect."""
    weights = inverse if relative == "loss" else inverse**2
    return over_lengths(scores, train.squares_inner(weights[None])[:, 0])

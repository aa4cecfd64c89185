"""Influence functions with Kronecker-factored curvature: K-FAC, EK-FAC, and RelatIF over them.

(Martens & Grosse 2015; George et al. 2018; Grosse et al. 2023, "Studying large language model generalization
with influence functions"; relative influence: Barshan et al. 2020.)

The Gauss-Newton matrix is replaced by blocks, one a layer, diagonal in the eigenbasis ``Q_S ⊗ Q_A`` of their
Kronecker factors. With c = Q_Sᵀ G Q_A the coordinates of a gradient G of the target f in that basis,

    scores[q, i] = (w_i / n) sum_jk  c_q[j,k] c_i[j,k] / (L[j,k] + lambda)

where ``L`` are the products of the factors' eigenvalues (K-FAC, ``eigenvalues="product"``), or the exact
diagonal of the Gauss-Newton matrix in that basis (EK-FAC, ``"corrected"``), the best diagonal there is. With
``unit="duration"`` lambda = weight_decay + damping / E, as in :mod:`proponent.methods.influence.if_exact`; with
``"mean"`` it is weight_decay + damping x the mean of the layer's eigenvalues (Grosse et al. use 0.1). One
basis serves all dampings.

RelatIF divides by how far the example itself moves the model: ``relative="loss"`` by
``sqrt(grad_iᵀ M grad_i)`` (l-RelatIF), ``"parameter"`` by ``||M grad_i||`` (theta-RelatIF), M the inverse.

Shapes: (n_query, n_train). Cost: two passes backward for each output (or ``samples`` of them), one
eigendecomposition of each factor, and a product of all gradients, written out, with all queries. Fails where
layers interact, which the blocks forget, and as influence functions do.
"""

from __future__ import annotations

import warnings
from typing import Literal

import torch
from torch import Tensor

from proponent.methods.shared.needs import Curvature, KroneckerBasis, Network
from proponent.methods.shared.solvers import keep
from proponent.seeds import derive_seed

_EXACT_OUTPUTS = 32
"""Outputs up to which the expectation over labels is taken exactly unless asked otherwise."""


def attribute(
    network: Network,
    *,
    eigenvalues: Literal["corrected", "product"] = "corrected",
    relative: Literal["none", "loss", "parameter"] = "none",
    checkpoint: float = 1.0,
    damping: float = 1.0,
    unit: Literal["duration", "mean"] = "duration",
    labels: Literal["auto", "exact", "sampled"] = "auto",
    samples: int = 1,
    seed: int = 0,
) -> Tensor:
    """Return the influence on the target, (n_query, n_train).

    Args:
        network: one member.
        eigenvalues: L above.
        relative: what scores are divided by.
        checkpoint: fraction of training.
        damping: in the unit below.
        unit: of the damping: 1 / E, or the mean eigenvalue of each layer.
        labels: expectation over the model's labels; ``auto`` is exact for at most 32 outputs.
        samples: draws an example, where labels are sampled.
        seed: of the draws, mixed with the number of the member.
    """
    model = network.at(checkpoint)
    basis = _basis(model, labels, samples, derive_seed(seed, "ekfac", network.member))
    inverse = _inverse(model, basis, eigenvalues, damping, unit)
    train = basis.rotate(model.train)
    scores = train.inner_dense(basis.rotate(model.query).dense().mul_(inverse)).T
    if relative == "none":
        return scores * (model.loss_weight / model.n_train)
    # the weight of the example's loss is in both, and cancels
    return scores / _length(train.squares_inner(_length_weights(inverse, relative))[:, 0])


def self_influence(
    network: Network,
    *,
    eigenvalues: Literal["corrected", "product"] = "corrected",
    relative: Literal["none", "loss", "parameter"] = "none",
    checkpoint: float = 1.0,
    damping: float = 1.0,
    unit: Literal["duration", "mean"] = "duration",
    labels: Literal["auto", "exact", "sampled"] = "auto",
    samples: int = 1,
    seed: int = 0,
) -> Tensor:
    """Return the influence of each training example on its own ``-loss``, (n_train,); arguments as above."""
    model = network.at(checkpoint)
    basis = _basis(model, labels, samples, derive_seed(seed, "ekfac", network.member))
    inverse = _inverse(model, basis, eigenvalues, damping, unit)
    train = basis.rotate(model.train)
    own = train.squares_inner(inverse[None])[:, 0]
    if relative == "none":
        return own * model.loss_weight**2 / model.n_train
    lengths = own if relative == "loss" else train.squares_inner(_length_weights(inverse, relative))[:, 0]
    return model.loss_weight * own / _length(lengths)


def _basis(model: Curvature, labels: str, samples: int, seed: int) -> KroneckerBasis:
    exact = labels == "exact" or (labels == "auto" and model.n_outputs <= _EXACT_OUTPUTS)

    def make() -> KroneckerBasis:
        basis = model.kronecker(0 if exact else samples, seed)
        if basis.approximated:
            warnings.warn(
                f"ekfac: too wide to diagonalise, a side of {', '.join(basis.approximated)} keeps its own axes",
                stacklevel=2,
            )
        return basis

    return keep(model, ("kronecker", exact or samples, seed), make)


def _inverse(model: Curvature, basis: KroneckerBasis, eigenvalues: str, damping: float, unit: str) -> Tensor:
    """Return 1 / (L + lambda) for every coordinate."""
    values = basis.eigenvalues if eigenvalues == "corrected" else basis.factored
    shift = torch.full_like(values, model.weight_decay)
    for span in basis.spans:
        shift[span] += damping * (values[span].mean() if unit == "mean" else 1 / model.duration)
    return 1 / (values + shift).clamp_min(torch.finfo(values.dtype).tiny)


def _length_weights(inverse: Tensor, relative: str) -> Tensor:
    return (inverse if relative == "loss" else inverse**2)[None]


def _length(squares: Tensor) -> Tensor:
    return squares.sqrt().clamp_min(torch.finfo(squares.dtype).tiny)

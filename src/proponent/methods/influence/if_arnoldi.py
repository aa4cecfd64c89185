"""Influence functions in the dominant eigenspace of the curvature.

(Schioppa et al. 2022, "Scaling up influence functions".)

Arnoldi iteration from a random start finds the eigenpairs of C with the largest eigenvalues. With U the
``rank`` leading vectors as rows and l their eigenvalues,

    scores[q, i] = (w_i / n) sum_j (U grad f_q)_j (U grad f_i)_j / (l_j + lambda),  lambda = weight_decay + damping / E

as in :mod:`proponent.methods.influence.if_exact` otherwise. The paper leaves out what is outside the space
(``outside="dropped"``); with ``"damped"`` that keeps the curvature 0, and adds
``(grad f_q . grad f_i - (U grad f_q) . (U grad f_i)) / lambda``, which tends to the exact score from the
other side. Directions of negative curvature (of the true Hessian) are never kept.

Shapes: (n_query, n_train). Cost: ``iterations`` products of C with one vector, once for all queries, examples
and dampings, and ``rank`` inner products of every gradient. Fails as published: the directions of small
curvature, in which influence is largest, are the ones that are dropped.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.methods.shared.lanczos import eigenpairs
from proponent.methods.shared.needs import Curvature, Network
from proponent.methods.shared.solvers import keep
from proponent.seeds import derive_seed


def attribute(
    network: Network,
    *,
    curvature: Literal["ggn", "hessian"] = "ggn",
    outside: Literal["dropped", "damped"] = "dropped",
    iterations: int = 50,
    rank: int = 30,
    checkpoint: float = 1.0,
    damping: float = 1.0,
    seed: int = 0,
) -> Tensor:
    """Return the influence on the target, (n_query, n_train).

    Args:
        network: one member.
        curvature: C above.
        outside: what becomes of gradients outside the eigenspace.
        iterations: products with C.
        rank: eigenvectors that are kept, at most ``iterations``.
        checkpoint: fraction of training.
        damping: in units of 1/E.
        seed: of the start, mixed with the number of the member.

    Raises:
        UserError: more eigenvectors are asked for than products, or C has no positive one.
    """
    if rank > iterations:
        raise UserError(f"if_arnoldi: rank {rank} exceeds iterations {iterations}: raise the latter")
    model = network.at(checkpoint)
    stream = derive_seed(seed, "if_arnoldi", network.member)
    key = (curvature, iterations, rank, stream)
    values, train, query = keep(model, key, lambda: _coordinates(model, *key))
    shift = model.weight_decay + damping / model.duration
    inner = (query / (values + shift)) @ train.T
    if outside == "damped":
        inner += (model.query.inner(model.train) - query @ train.T) / shift
    return inner * (model.loss_weight / model.n_train)


def _coordinates(
    model: Curvature, curvature: str, iterations: int, rank: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the leading eigenvalues (r,), and the coordinates of the gradients, (n_train, r), (n_query, r)."""
    product = model.ggn_product if curvature == "ggn" else model.hessian_product
    start = torch.randn(1, model.n_parameters, generator=torch.Generator().manual_seed(seed))
    values, vectors = eigenpairs(product, start.to(model.loss_weight), iterations)
    kept = values[:rank] > 10 * torch.finfo(values.dtype).eps * values[0]
    if not kept.any():
        raise UserError(
            f"if_arnoldi: the {curvature} has no positive eigenvalue here; use another checkpoint"
        )
    vectors = vectors[:rank][kept]
    return values[:rank][kept], model.train.inner_dense(vectors), model.query.inner_dense(vectors)

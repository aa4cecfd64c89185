"""Influence functions by conjugate gradients (Koh & Liang 2017, section 3), curvature as products only.

The same score as in :mod:`proponent.methods.if_exact`,

    scores[q, i] = (w_i / n) grad f_q^T (C + lambda I)^-1 grad f_i,      lambda = weight_decay + damping / E

but C is met only through its products with vectors, over the full training set, a block of queries at a time.
One Krylov space of the block (:mod:`proponent.methods.krylov`) serves all dampings from ``smallest_damping``
up, so that a grid costs as much as its hardest point.

Shapes: (n_query, n_train). Cost: 5 to 10 products of C with each query, each a few passes over the training
set, and as much again for the basis (250 queries of 109,000 parameters and 4,500 examples: about a minute).
Memory: block x iterations x n_parameters numbers. Fails on negative curvature (true Hessian of a network that
has not converged), where it says so; late to converge where lambda is far below the largest curvature.
"""

from __future__ import annotations

import warnings
from typing import Literal

import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.methods.inputs import Curvature, Network
from proponent.methods.krylov import KrylovSpace, grow
from proponent.methods.solvers import keep
from proponent.progress import progress


def attribute(
    network: Network,
    *,
    curvature: Literal["ggn", "hessian"] = "ggn",
    damping: float = 1.0,
    smallest_damping: float = 0.1,
    checkpoint: float = 1.0,
    tolerance: float = 0.01,
    iterations: int = 20,
    block: int = 200,
) -> Tensor:
    """Return the influence on the target, (n_query, n_train).

    Args:
        network: one member.
        curvature: C above.
        damping: in units of 1/E.
        smallest_damping: the least damping that the Krylov space must serve, in the same unit.
        checkpoint: fraction of training.
        tolerance: largest relative residual of a query at ``smallest_damping``.
        iterations: most products of C with a block; a warning says where they did not suffice.
        block: queries solved together.

    Raises:
        UserError: ``damping`` is below ``smallest_damping``, or C + lambda I has negative curvature.
    """
    if damping < smallest_damping:
        raise UserError(
            f"if_cg: damping {damping} is below smallest_damping {smallest_damping}: lower the latter"
        )
    model = network.at(checkpoint)
    floor = model.weight_decay + smallest_damping / model.duration
    spaces = keep(
        model,
        (curvature, floor, tolerance, iterations, block),
        lambda: _spaces(model, curvature, floor, tolerance, iterations, block),
    )
    shift = model.weight_decay + damping / model.duration
    inner = torch.cat([space.solve(shift).to(seen.dtype) @ seen.T for space, seen in spaces])
    return inner * (model.loss_weight / model.n_train)


def _spaces(
    model: Curvature, curvature: str, floor: float, tolerance: float, iterations: int, block: int
) -> list[tuple[KrylovSpace, Tensor]]:
    """Return a Krylov space for each block of queries, and how the training examples see it, (n_train, d)."""
    product = model.ggn_product if curvature == "ggn" else model.hessian_product
    found = []
    for queries in progress(model.query.dense().split(block), "conjugate gradients, blocks of queries"):
        space, basis = grow(product, queries, shift=floor, tolerance=tolerance, iterations=iterations)
        if space.residual > tolerance:
            warnings.warn(
                f"if_cg: residual {space.residual:.1e} after {iterations} iterations, above {tolerance}",
                stacklevel=2,
            )
        seen = torch.cat([model.train.inner_dense(rows) for rows in basis], dim=1)
        found.append((space, seen))
    return found

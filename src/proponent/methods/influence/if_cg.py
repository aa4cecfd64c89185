"""Influence functions by conjugate gradients (Koh & Liang 2017, section 3), curvature as products only.

The same score as in :mod:`proponent.methods.influence.if_exact`,

    scores[q, i] = (w_i / n) grad f_q^T (C + lambda I)^-1 grad f_i,      lambda = weight_decay + damping / E

but C is met only through its products with vectors, over the full training set, a block of queries at a time.
One Krylov space of the block (:mod:`proponent.methods.shared.krylov`), grown for the smallest damping of a grid, serves them
all, so that a grid costs as much as its hardest point.

Shapes: (n_query, n_train). Cost: 5 to 10 products of C with each query, each a few passes over the training
set, and for a grid as much again for what the examples see of the space (250 queries of 109,000 parameters and 4,500
examples: a minute on one core).
Memory: block x iterations x n_parameters numbers. Fails on negative curvature (true Hessian of a network that
has not converged), where it says so; late to converge where lambda is far below the largest curvature.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from proponent.methods.shared.krylov import KrylovSpace, grow
from proponent.methods.shared.needs import Network
from proponent.methods.shared.solvers import announced, keep
from proponent.progress import progress


def attribute(
    network: Network,
    *,
    curvature: Literal["ggn", "hessian"] = "ggn",
    damping: float = 1.0,
    checkpoint: float = 1.0,
    tolerance: float = 0.01,
    iterations: int = 20,
    block: int = 250,
) -> Tensor:
    """Return the influence on the target, (n_query, n_train).

    Args:
        network: one member.
        curvature: C above.
        damping: in units of 1/E.
        checkpoint: fraction of training.
        tolerance: largest relative residual of a query at the smallest damping of the grid.
        iterations: most products of C with a block; a warning says where they did not suffice.
        block: queries solved together.

    Raises:
        UserError: C + lambda I has negative curvature.
    """
    model = network.at(checkpoint)
    product = model.ggn_product if curvature == "ggn" else model.hessian_product
    grid = announced(damping)
    shift, smallest = (model.weight_decay + each / model.duration for each in (damping, min(grid)))

    def grown() -> Iterator[tuple[KrylovSpace, list[Tensor]]]:
        return _spaces(product, model.query.dense().split(block), smallest, tolerance, iterations)

    if len(grid) == 1:
        solved = torch.cat([_combine(space.solve(shift), basis) for space, basis in grown()])
        inner = model.train.inner_dense(solved).T
    else:
        spaces = keep(
            model,
            (curvature, smallest, tolerance, iterations, block),
            lambda: [
                (space, torch.cat([model.train.inner_dense(rows) for rows in basis], dim=1))
                for space, basis in grown()
            ],
        )
        inner = torch.cat([space.solve(shift).to(seen.dtype) @ seen.T for space, seen in spaces])
    return inner * (model.loss_weight / model.n_train)


def _spaces(
    product: Callable[[Tensor], Tensor],
    blocks: tuple[Tensor, ...],
    shift: float,
    tolerance: float,
    iterations: int,
) -> Iterator[tuple[KrylovSpace, list[Tensor]]]:
    """Yield the Krylov space of each block of queries, with its basis."""
    for queries in progress(blocks, "conjugate gradients, blocks of queries"):
        space, basis = grow(product, queries, shift=shift, tolerance=tolerance, iterations=iterations)
        if space.residual > tolerance:
            warnings.warn(
                f"if_cg: residual {space.residual:.1e} after {iterations} iterations, above {tolerance}",
                stacklevel=2,
            )
        yield space, basis


def _combine(coordinates: Tensor, basis: list[Tensor]) -> Tensor:
    """Return the vectors of these coordinates, (k, n_parameters)."""
    parts = coordinates.to(basis[0].dtype).split([len(rows) for rows in basis], dim=1)
    found = parts[0] @ basis[0]
    for part, rows in zip(parts[1:], basis[1:], strict=True):
        found.addmm_(part, rows)
    return found

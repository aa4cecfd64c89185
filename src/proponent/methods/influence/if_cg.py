"""Influence functions by conjugate gradients (Koh & Liang 2017, section 3), with the curvature as products only.

The same score as in :mod:`proponent.methods.influence.if_exact`,

    scores[q, i] = (w_i / n) grad f_q^T (C + lambda I)^-1 grad f_i,      lambda = weight_decay + damping / E

but the Gauss-Newton matrix C is used only through its products with vectors, over the full training set, for a block
of queries at a time. One Krylov space of the block (:mod:`proponent.methods.shared.solvers.krylov`), grown for the smallest
damping of a grid, serves all of its dampings, so a grid costs as much as its hardest point.

Shapes: (n_query, n_train). Cost: 5 to 10 products of C with each query, each a few passes over the training
set, and for a grid as much again for the products of the examples with the space (250 queries of 109,000 parameters
and 4,500 examples: a minute on one core). Memory: block x iterations x n_parameters numbers. Slow where lambda is far
below the largest curvature.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from proponent.methods.shared.needs import Network, Workspace
from proponent.methods.shared.solvers.krylov import KrylovSpace, combine, grow
from proponent.progress import progress

BLOCK = 250
"""Number of queries that are solved together."""


def attribute(
    network: Network,
    workspace: Workspace,
    *,
    damping: float = 1.0,
    checkpoint: float = 1.0,
    tolerance: float = 0.01,
    iterations: int = 20,
) -> Tensor:
    """Return the influence on the target, (n_query, n_train).

    Args:
        network: one member.
        workspace: announced dampings, and the Krylov spaces that they share.
        damping: in units of 1/E.
        checkpoint: fraction of training.
        tolerance: largest relative residual of a query at the smallest damping of the grid.
        iterations: largest number of products of C with a block; a warning says where it did not suffice.

    Raises:
        UserError: rounding has left C + lambda I with negative curvature.
    """
    model = network.at(checkpoint)
    grid = workspace.grid_of(damping)
    shift, smallest = (model.weight_decay + each / model.duration for each in (damping, min(grid)))

    def grown() -> Iterator[tuple[KrylovSpace, list[Tensor]]]:
        return _spaces(model.ggn_product, model.query.dense().split(BLOCK), smallest, tolerance, iterations)

    if len(grid) == 1:
        solved = torch.cat([combine(space.solve(shift), basis) for space, basis in grown()])
        inner = model.train.inner_dense(solved).T
    else:
        spaces = workspace.keep(
            model,
            (smallest, tolerance, iterations),
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
                f"if_cg: residual {space.residual:.1e} after {iterations} iterations exceeds {tolerance}: "
                "raise 'iterations' or 'damping'",
                stacklevel=2,
            )
        yield space, basis

"""Influence functions by conjugate gradients (Koh & Liang 2017, section 3), with the curvature as products only.

The same score as in :mod:`proponent.methods.influence.if_exact`,

    scores[q, i] = (w_i / n) grad f_q^T (C + lambda I)^-1 grad f_i,      lambda = weight_decay + damping / E

but the Gauss-Newton matrix C is used only through its products with vectors, over the full training set, for a block
of queries at a time; a small C is formed where that is cheaper. One Krylov space of the block, grown for the smallest
damping of a grid (:mod:`proponent.methods.shared.solvers.krylov`), serves all of its dampings: a grid costs as its hardest.

Shapes: (n_query, n_train). Cost: 5 to 10 products of C with each query, each a few passes over the training set, and for a
grid as much again for the products of the examples with the space (250 queries of 109,000 parameters and 4,500 examples: a
minute on one core). Memory: block x iterations x n_parameters numbers, for blocks of at most 250 queries; smaller blocks
converge later, to the same tolerance. Slow where lambda is far below the largest curvature.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from proponent.methods.shared.needs import Curvature, GradientBlock, Network, Workspace
from proponent.methods.shared.problem_size import ProblemSize, query_blocks
from proponent.methods.shared.solvers.krylov import KrylovSpace, combine, grow
from proponent.methods.shared.training_damping import training_damping, training_unit
from proponent.notes import Note
from proponent.progress import progress

RANGES = {"tolerance": "(0, 1)", "iterations": "[1, inf)"}
BLOCK = 250
"""Largest number of queries that are solved together."""
_PRODUCTS = 5  # of C per query, at least
_VECTORS = 6
"""Vectors per query in addition to the basis: the gradient, its product with C, and copies while it is orthogonalised."""


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
        iterations: largest number of products of C with a block; a note says where it did not suffice.

    Raises:
        UserError: C + lambda I is singular up to rounding, or not even one query fits into memory.
    """
    model = network.at(checkpoint)
    grid = workspace.grid_of(damping)
    shift, smallest = (training_damping(model, each) for each in (damping, min(grid)))
    need = partial(memory, iterations=iterations)
    blocks = query_blocks(model, need, "if_cg", most=BLOCK, dampings=len(grid))

    def grown() -> Iterator[tuple[KrylovSpace, list[Tensor]]]:
        return _spaces(model, blocks, smallest, tolerance, iterations)

    if len(grid) == 1:
        solved = (combine(space.solve(shift), basis) for space, basis in grown())
        inner = torch.cat([model.train.inner_dense(some).T for some in solved])
    else:
        spaces = workspace.keep(
            model.query,
            (smallest, tolerance, iterations),
            lambda: [
                (space, torch.cat([model.train.inner_dense(rows) for rows in basis], dim=1))
                for space, basis in grown()
            ],
        )
        inner = torch.cat([space.solve(shift).to(seen.dtype) @ seen.T for space, seen in spaces])
    return inner * (model.loss_weight / model.n_train)


def memory(size: ProblemSize, queries: int, *, iterations: int) -> float:
    """Return the memory for ``queries`` queries at a time, in MiB; the basis dominates."""
    dimensions = iterations * queries
    small = size.numbers(4 * 2 * dimensions**2)  # the projected matrix and its factor, in double precision
    if size.dampings > 1:  # the products of all queries' bases with the examples are kept
        small *= max(1, size.n_query / queries)
        small += size.numbers(size.n_train * iterations * size.n_query)
    kept = size.curvature_products() + size.scores()
    return kept + small + size.vectors((iterations + _VECTORS) * queries)


def _spaces(
    model: Curvature,
    blocks: Sequence[GradientBlock],
    shift: float,
    tolerance: float,
    iterations: int,
) -> Iterator[tuple[KrylovSpace, list[Tensor]]]:
    """Yield the Krylov space of each block of queries, with its basis."""
    unit = training_unit(model)
    for queries in progress(blocks, "conjugate gradients, blocks of queries"):
        space, basis = grow(
            partial(model.ggn_product, count=_PRODUCTS * len(queries)),
            queries.dense(),
            shift=shift,
            tolerance=tolerance,
            iterations=iterations,
            unit=unit,
        )
        if space.residual > tolerance:
            text = f"conjugate gradients have residual {space.residual:.1e} after {iterations} iterations, not {tolerance}"
            warnings.warn(f"{text}: raise 'iterations' or 'damping'", Note, stacklevel=2)
        yield space, basis

"""Influence functions by LiSSA, a Neumann series over random batches of the training set.

(Agarwal et al. 2017, "Second-order stochastic optimization for machine learning in linear time"; Koh & Liang
2017, section 3.)

The same score as in :mod:`proponent.methods.influence.if_exact`,

    scores[q, i] = (w_i / n) grad f_q^T (C + lambda I)^-1 grad f_i,      lambda = weight_decay + damping / E

with the products of queries and inverse from :mod:`proponent.methods.shared.solvers.lissa_recursion`. Its scale s is
measured, not guessed: ``scale`` times the largest eigenvalue found on the full data and on some batches. Where the
series is cut off too early, a warning states the residual on the full data: directions of curvature below about
s / depth then appear to be damped by that much.

Shapes: (n_query, n_train). Cost: ``depth * repeats`` products of all queries with the curvature of a batch, for each
damping anew. Slow everywhere: conjugate gradients need 5 to 30 products with the full curvature for the same answer.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from proponent.methods.shared.needs import Curvature, Network, Workspace
from proponent.methods.shared.problem_size import ProblemSize, query_blocks
from proponent.methods.shared.resolution import SMALLEST_SQUARE, vanished
from proponent.methods.shared.solvers.lanczos import STEPS_FOR_LARGEST, vectors_in_memory
from proponent.methods.shared.solvers.lissa_recursion import largest_curvature, random_batches, solve
from proponent.methods.shared.training_damping import training_damping
from proponent.notes import Note
from proponent.seeds import derive_seed

_RESIDUAL_TO_MENTION = 0.1

RANGES = {"depth": "[1, inf)", "batch": "[1, inf)", "repeats": "[1, inf)", "scale": "(0, inf)"}


def attribute(
    network: Network,
    workspace: Workspace,
    *,
    checkpoint: float = 1.0,
    damping: float = 1.0,
    depth: int = 500,
    batch: int = 32,
    repeats: int = 1,
    scale: float = 1.1,
    seed: int = 0,
) -> Tensor:
    """Return the influence on the target, (n_query, n_train).

    Args:
        network: one member.
        workspace: keeps the largest eigenvalue from call to call.
        checkpoint: fraction of training.
        damping: in units of 1/E.
        depth: number of steps of the recursion.
        batch: number of examples per step, drawn without replacement; at least n_train for all of them.
        repeats: number of recursions, each with other batches, that are averaged.
        scale: s, in units of the largest eigenvalue that was measured.
        seed: seed of the batches, mixed with the index of the member.

    Raises:
        UserError: the recursion diverged, or curvature and damping are zero.
    """
    model = network.at(checkpoint)
    product, n = model.ggn_product, model.n_train
    shift = training_damping(model, damping)
    stream = derive_seed(seed, "if_lissa", network.member)
    blocks = query_blocks(model, memory, "if_lissa")
    measured = workspace.keep(
        model.query,
        (batch, stream),
        lambda: largest_curvature(product, model.query.slice(slice(0, 1)).dense(), n, batch, stream),
    )
    if measured + shift <= SMALLEST_SQUARE:
        raise vanished("the sum of curvature and damping")
    generator = torch.Generator().manual_seed(stream)
    batches = [list(random_batches(n, batch, depth, generator)) for _ in range(repeats)]
    scores, residuals = [], []
    for block in blocks:
        queries = block.dense()
        solved = torch.zeros_like(queries)
        for drawn in batches:
            solved += (
                solve(product, queries, drawn, shift=shift, scale=scale * (measured + shift), depth=depth)
                / repeats
            )
        scores.append(model.train.inner_dense(solved).T * (model.loss_weight / model.n_train))
        residuals.append(_residuals(model, queries, solved, shift))
    residual = torch.cat(residuals).median()
    if residual > _RESIDUAL_TO_MENTION:
        warnings.warn(
            f"the series has not converged: the median residual is {residual:.2g} after {depth} steps: "
            "raise 'depth', 'damping' or 'batch'",
            Note,
            stacklevel=2,
        )
    return torch.cat(scores)


def memory(size: ProblemSize, queries: int) -> float:
    """Return the memory for ``queries`` queries at a time, in MiB: six vectors per query, and the search for the scale."""
    vectors = max(6 * queries, vectors_in_memory(STEPS_FOR_LARGEST))
    return size.vectors(vectors) + size.temporaries() + size.scores()


def _residuals(model: Curvature, queries: Tensor, solved: Tensor, shift: float) -> Tensor:
    """Return the relative residual of each query on the full data, (k,)."""
    left = queries - model.ggn_product(solved) - shift * solved
    return left.norm(dim=1) / queries.norm(dim=1).clamp_min(torch.finfo(left.dtype).tiny)

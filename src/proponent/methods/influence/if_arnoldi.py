"""Influence functions in the dominant eigenspace of the curvature.

(Schioppa et al. 2022, "Scaling up influence functions".)

Arnoldi iteration from a random start finds the eigenpairs of the Gauss-Newton matrix C with the largest eigenvalues.
With U the ``rank`` leading vectors as rows and l their eigenvalues,

    scores[q, i] = (w_i / n) sum_j (U grad f_q)_j (U grad f_i)_j / (l_j + lambda),  lambda = weight_decay + damping / E

as in :mod:`proponent.methods.influence.if_exact` otherwise. As in the paper, the components of gradients outside this
space are left out.

Shapes: (n_query, n_train). Cost: ``iterations`` products of C with one vector, once for all queries, examples
and dampings, and ``rank`` inner products of every gradient. Fails as published: the directions of small
curvature, in which influence is largest, are the ones that are left out.
"""

from __future__ import annotations

import warnings
from functools import partial

import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.methods.shared.needs import Curvature, Network, Workspace
from proponent.methods.shared.problem_size import ProblemSize, size_of_network
from proponent.methods.shared.resolution import SMALLEST_SQUARE, vanished
from proponent.methods.shared.solvers.lanczos import eigenpairs, vectors_in_memory
from proponent.methods.shared.training_damping import training_damping
from proponent.notes import Note
from proponent.seeds import derive_seed

RANGES = {"iterations": "[1, inf)", "rank": "[1, iterations]"}
_CONVERGED = 0.1
"""Residual of an eigenpair, relative to its eigenvalue, above which a note counts it."""


def attribute(
    network: Network,
    workspace: Workspace,
    *,
    iterations: int = 50,
    rank: int = 30,
    checkpoint: float = 1.0,
    damping: float = 1.0,
    seed: int = 0,
) -> Tensor:
    """Return the influence on the target, (n_query, n_train).

    Args:
        network: one member.
        workspace: keeps the eigenspace from damping to damping.
        iterations: number of products with C.
        rank: number of eigenvectors that are kept, at most ``iterations``.
        checkpoint: fraction of training.
        damping: in units of 1/E.
        seed: seed of the start, mixed with the index of the member.

    Raises:
        UserError: ``rank`` exceeds ``iterations``, C is zero, or the directions do not fit into memory.
    """
    if rank > iterations:
        raise UserError(f"if_arnoldi: rank {rank} exceeds iterations {iterations}: raise the latter")
    model = network.at(checkpoint)
    model.budget.require(memory(size_of_network(model), 1, iterations=iterations), "if_arnoldi")
    key = (iterations, rank, derive_seed(seed, "if_arnoldi", network.member))
    values, vectors, train = workspace.keep(model.train, key, lambda: _eigenspace(model, *key))
    query = workspace.keep(model.query, key, lambda: model.query.inner_dense(vectors))
    shift = training_damping(model, damping)
    inner = (query / (values + shift)) @ train.T
    return inner * (model.loss_weight / model.n_train)


def memory(size: ProblemSize, queries: int, *, iterations: int) -> float:
    """Return the memory in MiB: the directions and their images, whatever the number of queries."""
    return size.vectors(vectors_in_memory(iterations)) + size.curvature_products() + size.scores()


def _eigenspace(model: Curvature, iterations: int, rank: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the leading eigenvalues (r,) and eigenvectors (r, p), and the training gradients' coordinates (n_train, r)."""
    start = torch.randn(1, model.n_parameters, generator=torch.Generator().manual_seed(seed))
    found = eigenpairs(partial(model.ggn_product, count=iterations), start.to(model.loss_weight), iterations)
    values = found.values[:rank]
    eps = torch.finfo(values.dtype).eps
    # products with the curvature are known up to eps times the squares of the derivatives in it
    if values[0] <= max(eps * float(model.train.norms_squared().mean()), SMALLEST_SQUARE):
        raise vanished("the curvature")
    kept = values > 10 * eps * values[0]
    values, vectors = values[kept], found.vectors[:rank][kept]
    apart = int((found.residuals[:rank][kept] > _CONVERGED * values).sum())
    if apart:
        warnings.warn(
            f"{apart} of {len(values)} eigenpairs have not converged to {_CONVERGED:.0%} after {iterations} products",
            Note,
            stacklevel=2,
        )
    return values, vectors, model.train.inner_dense(vectors)

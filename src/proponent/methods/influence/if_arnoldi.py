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

import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.methods.shared.needs import Curvature, Network, Workspace
from proponent.methods.shared.problem_size import ProblemSize, size_of_network
from proponent.methods.shared.solvers.lanczos import eigenpairs, vectors_in_memory
from proponent.seeds import derive_seed

RANGES = {"iterations": "[1, inf)", "rank": "[1, iterations]"}


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
    values, train, query = workspace.keep(model, key, lambda: _coordinates(model, *key))
    shift = model.weight_decay + damping / model.duration
    inner = (query / (values + shift)) @ train.T
    return inner * (model.loss_weight / model.n_train)


def memory(size: ProblemSize, queries: int, *, iterations: int) -> float:
    """Return the memory in MiB: the directions and their images, whatever the number of queries."""
    return size.vectors(vectors_in_memory(iterations)) + size.temporaries() + size.scores()


def _coordinates(model: Curvature, iterations: int, rank: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the leading eigenvalues (r,), and the coordinates of the gradients, (n_train, r), (n_query, r)."""
    start = torch.randn(1, model.n_parameters, generator=torch.Generator().manual_seed(seed))
    values, vectors = eigenpairs(model.ggn_product, start.to(model.loss_weight), iterations)
    kept = values[:rank] > 10 * torch.finfo(values.dtype).eps * values[0]
    if not kept.any():
        raise UserError("if_arnoldi: the Gauss-Newton matrix is zero at this checkpoint: use another one")
    vectors = vectors[:rank][kept]
    return values[:rank][kept], model.train.inner_dense(vectors), model.query.inner_dense(vectors)

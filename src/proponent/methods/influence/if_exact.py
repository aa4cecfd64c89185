"""Influence functions, solved exactly.

(Koh & Liang 2017, "Understanding black-box predictions via influence functions".)

At a minimum of J = mean loss + (weight_decay / 2) ||theta||^2, increasing the weight of example i by dw moves the
parameters by ``-(1/n) H^-1 grad loss_i dw``, hence the target of query q by

    scores[q, i] = (w_i / n) grad f_q^T (C + lambda I)^-1 grad f_i,      lambda = weight_decay + damping / E

with ``w_i`` the loss weight, C the generalised Gauss-Newton matrix (GGN) of the mean loss, and E the sum of the
learning rates over 1 - momentum. The GGN is the Hessian H for linear models, and positive semi-definite for networks,
which have rarely converged to a minimum. A run that stops after E has reduced the initial error along a direction of
curvature c by ``exp(-c E)``, so it behaves as if damped by about 1/E: 1 is the natural damping in that unit, and
grids are centred on it.

The GGN is ``B^T B / n`` with n x n_outputs rows, so the inverse is taken on the smaller side: in parameter
space, or in example space by the push-through identity
``(B^T B / n + lambda)^-1 = (1 - B^T (B B^T + n lambda)^-1 B) / lambda``.

Shapes: (n_query, n_train). Cost: one Cholesky factorisation of the smaller side m, m^3 / 3, and m^2 numbers of
memory (m = 8000: 256 MB, 3 s); in parameter space also the products of all gradients with the solved queries.
Fails on groups of high leverage, whose effects it underestimates; and a deep network answers a proximal question
rather than leave-one-out (Bae et al. 2022).
"""

from __future__ import annotations

import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.methods.shared.needs import Curvature, GradientBlock, Network, Workspace
from proponent.methods.shared.problem_size import ProblemSize, query_blocks
from proponent.methods.shared.solvers.damped_solver import DampedSolver
from proponent.methods.shared.training_damping import training_damping, training_unit

MAX_DIMENSION = 12000
"""Largest matrix to factor, in rows: 1.2 GB, and as much again for its factor."""


def attribute(
    network: Network, workspace: Workspace, *, damping: float = 1.0, checkpoint: float = 1.0
) -> Tensor:
    """Return the influence on the target, (n_query, n_train).

    Args:
        network: one member.
        workspace: announced dampings, and the factored matrix that they share.
        damping: in units of 1/E; 0 for none.
        checkpoint: fraction of training.

    Raises:
        UserError: both spaces are larger than :data:`MAX_DIMENSION`, or the damped curvature is singular up to rounding.
    """
    model = network.at(checkpoint)
    shift = training_damping(model, damping)
    in_parameter_space = _in_parameter_space(model)
    blocks = query_blocks(model, memory, "if_exact")
    if in_parameter_space:
        parameters = _parameter_solver(model, workspace)
        solutions = (parameters.solve(queries.dense().T, shift).T for queries in blocks)
        inner = torch.cat([model.train.inner_dense(solved).T for solved in solutions])
    else:
        solver, root = _example_solver(model, workspace)
        solver.refuse_differences(model.n_train * shift)
        solved = solver.solve(root.inner(model.query), model.n_train * shift)
        inner = (model.query.inner(model.train) - solved.T @ root.inner(model.train)) / shift
    return inner * (model.loss_weight / model.n_train)


def memory(size: ProblemSize, queries: int) -> float:
    """Return the memory in MiB: three matrices of the smaller space; in example space the root and its products too."""
    rows = size.n_train * size.n_outputs
    smallest = min(size.n_parameters, rows)
    in_examples = size.numbers(rows * (size.n_train + size.root_row))
    solved = size.vectors(3 * queries) if smallest == size.n_parameters else in_examples
    return size.numbers(3 * smallest**2) + solved + size.pass_mib + size.temporaries() + size.scores()


def self_influence(network: Network, workspace: Workspace, *, damping: float, checkpoint: float) -> Tensor:
    """Return the influence of each training example on its own ``-loss``, (n_train,)."""
    model = network.at(checkpoint)
    shift = training_damping(model, damping)
    if _in_parameter_space(model):
        inner = _parameter_solver(model, workspace).quadratic(model.train.dense(), shift)
    else:
        solver, root = _example_solver(model, workspace)
        solver.refuse_differences(model.n_train * shift)
        explained = solver.quadratic(model.train.inner(root), model.n_train * shift)
        inner = (model.train.norms_squared() - explained) / shift
    return inner * model.loss_weight**2 / model.n_train


def _in_parameter_space(model: Curvature) -> bool:
    rows = model.n_train * model.n_outputs
    smallest = min(model.n_parameters, rows)
    if smallest > MAX_DIMENSION:
        raise UserError(
            f"if_exact: the smaller of {model.n_parameters} parameters and {rows} example rows exceeds {MAX_DIMENSION}, "
            "the largest matrix that is factored: use if-cg or trak"
        )
    return smallest == model.n_parameters


def _parameter_solver(model: Curvature, workspace: Workspace) -> DampedSolver:
    dampings = workspace.dampings
    return workspace.keep(
        model.train, ("ggn", dampings), lambda: DampedSolver(model.ggn(), dampings, training_unit(model))
    )


def _example_solver(model: Curvature, workspace: Workspace) -> tuple[DampedSolver, GradientBlock]:
    def make() -> tuple[DampedSolver, GradientBlock]:
        root = model.ggn_root()
        unit = training_unit(model, model.n_train)
        return DampedSolver(root.inner(root), workspace.dampings, unit), root

    return workspace.keep(model.train, ("root", workspace.dampings), make)

"""Influence functions, solved exactly.

(Koh & Liang 2017, "Understanding black-box predictions via influence functions".)

At a minimum of J = mean loss + (weight_decay / 2) ||theta||^2, weighting example i up by dw moves the
parameters by ``-(1/n) H^-1 grad loss_i dw``, hence the target of query q by

    scores[q, i] = (w_i / n) grad f_q^T (C + lambda I)^-1 grad f_i,      lambda = weight_decay + damping / E

with ``w_i`` the loss weight, C the Hessian of the mean loss or its generalised Gauss-Newton matrix (GGN:
positive semi-definite, to be preferred for a network that has not converged), and E the sum of the learning
rates over 1 - momentum. A run that stops after E has forgotten a direction of curvature c as ``exp(-c E)``:
it behaves as if damped by about 1/E, so 1 is the natural damping in that unit and grids are centred on it.

The GGN is ``B^T B / n`` with n x n_outputs rows, so the inverse is taken on the smaller side: in parameter
space, or in example space by the push-through identity
``(B^T B / n + lambda)^-1 = (1 - B^T (B B^T + n lambda)^-1 B) / lambda``.

Shapes: (n_query, n_train). Cost: one Cholesky factorisation of that side m, m^3 / 3, and m^2 numbers of
memory (m = 8000: 256 MB, 3 s); in parameter space also the products of all gradients with the solved queries.
Group effects are underestimated where leverage is high, and a deep network answers a proximal question rather
than leave-one-out (Bae et al. 2022).
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from proponent.errors import UserError
from proponent.methods.shared.needs import Curvature, GradientBlock, Network
from proponent.methods.shared.solvers import DampedSolver, keep


def attribute(
    network: Network,
    *,
    curvature: Literal["ggn", "hessian"] = "ggn",
    damping: float = 1.0,
    checkpoint: float = 1.0,
    max_dimension: int = 12000,
) -> Tensor:
    """Return the influence on the target, (n_query, n_train).

    Args:
        network: one member.
        curvature: C above.
        damping: in units of 1/E; 0 for none.
        checkpoint: fraction of training.
        max_dimension: largest matrix to factor, in rows.

    Raises:
        UserError: both spaces are larger than ``max_dimension``, or the damped curvature is not positive
            definite.
    """
    model = network.at(checkpoint)
    shift = model.weight_decay + damping / model.duration
    if _in_parameter_space(model, curvature, max_dimension):
        solved = _parameter_solver(model, curvature).solve(model.query.dense().T, shift).T
        inner = model.train.inner_dense(solved).T
    else:
        solver, root = _example_solver(model)
        solved = solver.solve(root.inner(model.query), model.n_train * shift)
        inner = (model.query.inner(model.train) - solved.T @ root.inner(model.train)) / shift
    return inner * (model.loss_weight / model.n_train)


def self_influence(
    network: Network,
    *,
    curvature: Literal["ggn", "hessian"] = "ggn",
    damping: float = 1.0,
    checkpoint: float = 1.0,
    max_dimension: int = 12000,
) -> Tensor:
    """Return the influence of each training example on its own ``-loss``, (n_train,); arguments as above."""
    model = network.at(checkpoint)
    shift = model.weight_decay + damping / model.duration
    if _in_parameter_space(model, curvature, max_dimension):
        inner = _parameter_solver(model, curvature).quadratic(model.train.dense(), shift)
    else:
        solver, root = _example_solver(model)
        explained = solver.quadratic(model.train.inner(root), model.n_train * shift)
        inner = (model.train.norms_squared() - explained) / shift
    return inner * model.loss_weight**2 / model.n_train


def _in_parameter_space(model: Curvature, curvature: str, max_dimension: int) -> bool:
    examples = model.n_train * model.n_outputs if curvature == "ggn" else None
    smallest = min(model.n_parameters, examples or model.n_parameters)
    if smallest > max_dimension:
        rows = f" and {examples} example rows" if examples else ""
        raise UserError(
            f"if_exact: {model.n_parameters} parameters{rows} exceed max_dimension {max_dimension}: "
            "use the family if_cg or trak, or raise max_dimension if memory allows "
            f"({smallest**2 * 8 / 2**30:.1f} GiB at least)"
        )
    return smallest == model.n_parameters


def _parameter_solver(model: Curvature, curvature: str) -> DampedSolver:
    return keep(
        model, curvature, lambda: DampedSolver(model.ggn() if curvature == "ggn" else model.hessian())
    )


def _example_solver(model: Curvature) -> tuple[DampedSolver, GradientBlock]:
    def make() -> tuple[DampedSolver, GradientBlock]:
        root = model.ggn_root()
        return DampedSolver(root.inner(root)), root

    return keep(model, "root", make)

"""TRAK (Park et al. 2023, "TRAK: attributing model behavior at scale"), exact or projected.

The model is linearised in its parameters and treated as logistic regression on phi_i = grad f_i, f the
margin. One Newton step gives the effect of example i on query q as

    kernel[q, i] = phi_q^T (Phi^T R Phi + lambda I)^-1 phi_i,      scores = mean(kernel) * mean(w)

with ``w_i = 1 - p_i`` the loss weight. Kernel and weights are averaged over the members *separately* (their
product is taken last), so the function returns both. The paper's R is the identity; ``weighting="full"`` is
the Newton step's own R = p (1 - p), which for binary logistic regression makes one member's score the
influence function, and ``"sqrt"`` its square root.

Exact by default: the method projects nothing (:mod:`proponent.methods.shared.trak_kernel`), and a note says so where the
stored gradients are a projection. With ``projection_dim`` > 0, phi is a seeded random projection, a different one for each
member as in the paper.

lambda is relative to the mean diagonal of the (weighted) Gram matrix. The checkpoint matters more than the
number of members: for networks that end up fitting their training set, an early one is better, because w
vanishes later.

Shapes: kernel (n_query, n_train), weights (n_train,). Cost: a Gram matrix of the gradients and one Cholesky factorisation
of n_train rows; one serves all dampings. Fails for a single member that has memorised its data.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from proponent.methods.shared.needs import Gradients, Workspace
from proponent.methods.shared.problem_size import ProblemSize
from proponent.methods.shared.trak_kernel import fraction_of, memory_of_kernel, trak_kernel

SELF_INFLUENCE = {"damping": 0.01}
RANGES = {"projection_dim": "[0, inf)"}
"""Smaller than for attribution, because damping hides leverage: the part of a gradient that no other example shares."""


def attribute(
    gradients: Gradients,
    workspace: Workspace,
    *,
    damping: float = 1.0,
    growing: bool = False,
    checkpoint: float = 1.0,
    weighting: Literal["none", "sqrt", "full"] = "none",
    projection_dim: int = 0,
    projection: Literal["rademacher", "gaussian", "sparse"] = "rademacher",
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Return one member's kernel (n_query, n_train) and weights (n_train,); the score is their product.

    Args:
        gradients: gradients of one member.
        workspace: announced dampings, and the kernel that they share.
        damping: lambda, in units of the mean diagonal of the Gram matrix.
        growing: whether the damping is multiplied by the fraction of training at the checkpoint that is used, because
            early checkpoints need less.
        checkpoint: fraction of training.
        weighting: R above.
        projection_dim: dimensions of the random projection; 0 for exact gradients.
        projection: distribution of the projection's entries.
        seed: seed of the projection, mixed with the index of the member.

    Raises:
        UserError: the damping is too small for the kernel to be inverted.
    """
    pair = gradients.at(checkpoint)
    kernel = trak_kernel(
        pair,
        workspace,
        member=gradients.member,
        weighting=weighting,
        projection_dim=projection_dim,
        projection=projection,
        seed=seed,
    )
    return kernel.cross(
        damping * fraction_of(gradients, checkpoint) if growing else damping
    ), pair.loss_weight


def memory(size: ProblemSize, queries: int, *, projection_dim: int) -> float:
    """Return the memory in MiB: the Gram matrix, or projections to fewer dimensions than there are examples."""
    return memory_of_kernel(size, projection_dim)


def self_influence(
    gradients: Gradients,
    workspace: Workspace,
    *,
    damping: float,
    growing: bool,
    checkpoint: float,
    weighting: Literal["none", "sqrt", "full"],
    projection_dim: int,
    projection: Literal["rademacher", "gaussian", "sparse"],
    seed: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return three factors (n_train,) of each example's score on its own ``-loss``, to be averaged separately.

    The gradient of -loss is w_i phi_i, so the weights are a factor twice.
    """
    pair = gradients.at(checkpoint)
    kernel = trak_kernel(
        pair,
        workspace,
        member=gradients.member,
        weighting=weighting,
        projection_dim=projection_dim,
        projection=projection,
        seed=seed,
    )
    own = kernel.diagonal(damping * fraction_of(gradients, checkpoint) if growing else damping)
    return own, pair.loss_weight, pair.loss_weight

"""Datamodels around gradients: retrainings correct the scores p of TRAK instead of replacing them.

For each query, with retrainings on subsets S_j whose targets are y_j,

    min over b, s, theta   sum_j (y_j - b - 1_{S_j} theta)^2 + lam sum_i (theta_i - s p_i)^2 / v_i,   scores = theta

The penalty pulls theta towards the best multiple of TRAK's scores (Park et al. 2023), which need only a few trained
models, instead of towards zero. Few examples have a large effect, so that an example may deviate in proportion to the
effect that TRAK predicts: ``v_i = |p_i| / mean |p| + 0.05``. theta is the posterior mean for a Gaussian prior with mean
s p and variances v. As lam increases the scores approach TRAK's, as it decreases those of the retrainings alone; the
leave-one-out error over the retrainings chooses lam. The solution in closed form is
:func:`proponent.methods.shared.retraining_regression.weights_around_prior`.

Shapes: (n_query, n_train). Cost: an eigendecomposition per query, r m n + r^3 with r = min(m, n), in addition to that of
TRAK. Both the members and the retrainings are needed and charged.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from proponent.methods.shared.needs import Gradients, Retrainings, Workspace
from proponent.methods.shared.retraining_regression import weights_around_prior
from proponent.methods.shared.trak_kernel import fraction_of, trak_kernel


def attribute(
    gradients: Gradients,
    workspace: Workspace,
    *,
    damping: float = 3.0,
    growing: bool = False,
    checkpoint: float = 0.25,
    weighting: Literal["none", "sqrt", "full"] = "sqrt",
) -> tuple[Tensor, Tensor]:
    """Return TRAK's kernel (n_query, n_train) and weights (n_train,) of one member; their product is p.

    Args:
        gradients: gradients of one member.
        workspace: announced dampings, and the kernel that they share.
        damping: damping of TRAK, in units of the mean diagonal of the Gram matrix.
        growing: whether the damping is multiplied by the fraction of training at the checkpoint that is used, because
            early checkpoints need less.
        checkpoint: fraction of training after which the gradients are taken.
        weighting: weights of the examples in TRAK's kernel: none, p (1 - p) (``full``), or its square root.

    Raises:
        UserError: the damping is too small for the kernel to be inverted.
    """
    pair = gradients.at(checkpoint)
    kernel = trak_kernel(pair, workspace, member=gradients.member, weighting=weighting)
    return kernel.cross(
        damping * fraction_of(gradients, checkpoint) if growing else damping
    ), pair.loss_weight


def finish(scores: Tensor, retrainings: Retrainings) -> Tensor:
    """Return the weights of datamodels around TRAK's scores, (n_query, n_train).

    lam is the same for all queries, because a hundred retrainings are too few to choose one per query.

    Args:
        scores: TRAK's scores over all members, p above.
        retrainings: retrainings of the ``fit`` design.
    """
    return weights_around_prior(retrainings, scores, "shared")

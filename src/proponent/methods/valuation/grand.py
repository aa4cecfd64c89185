"""GraNd (Paul et al. 2021, "Deep learning on a data diet: finding important examples early in training").

The value of an example is the norm of the gradient of its loss early in training:

    value_i = || grad loss_i || = w_i || grad f_i ||

with the loss weight ``w_i`` (1 - p_i for classification). It bounds how much one step on the example changes the loss of
any other one, and the paper keeps the examples with the largest values when it prunes a training set. The value does not
depend on the queries, ``scores[q, i] = value_i`` for every q. It is the root of GradDot's self-influence.

Shapes: (n_query, n_train). Cost: the norms of the gradients. The paper averages over ten members, ``grand-10``.
"""

from __future__ import annotations

from torch import Tensor

from proponent.methods.shared.needs import Gradients


def attribute(gradients: Gradients, *, checkpoint: float = 0.1) -> Tensor:
    """Return the norm of the gradient of each example's loss, the same for all queries, (n_query, n_train).

    Args:
        gradients: gradients of one member.
        checkpoint: fraction of training after which the gradients are taken.
    """
    n_query = len(gradients.at(checkpoint).query)
    return self_influence(gradients, checkpoint=checkpoint).expand(n_query, -1).clone()


def self_influence(gradients: Gradients, *, checkpoint: float) -> Tensor:
    """Return the norm of the gradient of each example's loss, (n_train,)."""
    pair = gradients.at(checkpoint)
    return pair.loss_weight * pair.train.norms_squared().sqrt()

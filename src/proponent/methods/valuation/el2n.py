"""EL2N (Paul et al. 2021, "Deep learning on a data diet: finding important examples early in training").

The value of an example is the norm of the error of its predicted probabilities early in training:

    value_i = || p(x_i) - onehot(y_i) ||

A large value means that the example is difficult, and the paper keeps the examples with the largest values when it prunes
a training set. The value does not depend on the queries, ``scores[q, i] = value_i`` for every q: it is a baseline for
choosing data and for finding wrong labels, which are difficult as well, and attributes no prediction.

Shapes: (n_query, n_train). Cost: the outputs. The paper averages over ten members, ``el2n-10``.
"""

from __future__ import annotations

from torch import Tensor

from proponent.methods.shared.label_errors import probability_errors
from proponent.methods.shared.needs import Data, Outputs

TASKS = ("classification",)


def attribute(data: Data, outputs: Outputs, *, checkpoint: float = 0.1) -> Tensor:
    """Return the norm of the error of each example, the same for all queries, (n_query, n_train).

    Args:
        data: examples and queries, of which only the labels are used.
        outputs: outputs of one member.
        checkpoint: fraction of training after which the outputs are taken.
    """
    return self_influence(data, outputs, checkpoint=checkpoint).expand(len(data.y_query), -1).clone()


def self_influence(data: Data, outputs: Outputs, *, checkpoint: float) -> Tensor:
    """Return the norm of the error of each example, (n_train,), in [0, sqrt 2]."""
    return probability_errors(outputs.at(checkpoint).train, data.y_train).norm(dim=1)

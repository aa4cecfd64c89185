"""AUM (Pleiss et al. 2020, "Identifying mislabeled data using the area under the margin ranking").

The value of an example is minus its margin, the logit of its label minus the largest other logit, averaged over training:

    value_i = - mean_k (z_k(x_i)[y_i] - max_{c != y_i} z_k(x_i)[c])

A wrong label is learned late, after the other examples of its true class, so that its margin is small on average even if
the final model predicts it. A large value means that the example is suspicious. The paper averages over all epochs; here k
counts the saved checkpoints, of which more lie early in training. The value does not depend on the queries: it finds wrong
labels, and attributes no prediction.

Shapes: (n_query, n_train). Cost: the outputs at every checkpoint.
"""

from __future__ import annotations

import torch
from torch import Tensor

from proponent.methods.shared.label_errors import class_logits
from proponent.methods.shared.needs import Data, Outputs

TASKS = ("classification",)
CHECKPOINTS = 1


def attribute(data: Data, outputs: Outputs) -> Tensor:
    """Return minus the mean margin of each example, the same for all queries, (n_query, n_train).

    Args:
        data: examples and queries, of which only the labels are used.
        outputs: outputs of one member along its training.
    """
    return self_influence(data, outputs).expand(len(data.y_query), -1).clone()


def self_influence(data: Data, outputs: Outputs) -> Tensor:
    """Return minus the mean margin of each example, (n_train,), in units of the logits."""
    label = data.y_train[:, None]
    margins = []
    for pair in outputs.along():
        logits = class_logits(pair.train)
        others = logits.scatter(1, label, -torch.inf)
        margins.append(logits.gather(1, label)[:, 0] - others.amax(1))
    return -torch.stack(margins).mean(0)

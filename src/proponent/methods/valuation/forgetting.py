"""Forgetting events (Toneva et al. 2019, "An empirical study of example forgetting during deep neural network learning").

The value of an example is the number of saved checkpoints at which the model predicts another label although it predicted
the right one at the checkpoint before:

    value_i = sum_k 1[right at k] 1[wrong at k + 1],    and the number of checkpoints if the example is never right

The paper keeps the examples that are forgotten most often, and counts those that are never learned among them. It looks at
an example each time that it is trained on; checkpoints are far fewer, so that counts are small and many examples tie. The
mean over members, such as ``forgetting-10``, distinguishes more. The value does not depend on the queries.

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
    """Return the number of forgetting events of each example, the same for all queries, (n_query, n_train).

    Args:
        data: examples and queries, of which only the labels are used.
        outputs: outputs of one member along its training.
    """
    return self_influence(data, outputs).expand(len(data.y_query), -1).clone()


def self_influence(data: Data, outputs: Outputs) -> Tensor:
    """Return the number of forgetting events of each example, (n_train,)."""
    labels = data.y_train
    right = torch.stack([class_logits(pair.train).argmax(1) == labels for pair in outputs.along()])
    events = (right[:-1] & ~right[1:]).sum(0)
    return torch.where(right.any(0), events, len(right)).to(torch.get_default_dtype())

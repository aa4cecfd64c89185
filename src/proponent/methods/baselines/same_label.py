"""Same label: one for the training examples of the query's class, zero for all others.

A baseline without any model: what a method scores beyond it is knowledge about single examples and not about
classes. It has nothing to say about mislabelled examples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from proponent.methods.shared.needs import Data

TASKS = ("classification",)


def attribute(data: Data) -> Tensor:
    """Return the indicator of equal labels, (n_query, n_train)."""
    return (data.y_query[:, None] == data.y_train[None, :]).to(torch.float32)

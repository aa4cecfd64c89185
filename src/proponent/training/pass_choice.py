"""Choice between one pass of several models and one model after the other, and the number of models in a pass.

The choice depends on the model, the optimiser and the kind of device, and not on the machine or its load: the same key
gives the same bytes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from proponent.config.schema import RecipeConfig
from proponent.training.update import n_slots

CACHE_BYTES = 8 * 2**20
"""Parameters and moments of the models in a pass on a CPU: more are slower, since each step reads and writes them all.

A step of the MNIST network (0.9 MB with its momentum) is fastest with 4 to 16 models (``benchmarks/lockstep.py``).
"""


class PassChoice(NamedTuple):
    """How models are trained.

    Attributes:
        models: largest number of models that are trained at the same time.
        stacked: whether they share one batched pass; otherwise they are trained one after the other.
    """

    models: int
    stacked: bool


def pass_choice(model: nn.Module, recipe: RecipeConfig, device: str) -> PassChoice:
    """Return how to train models of one architecture where it is fastest.

    - A model with a recurrent layer (``nn.RNN``, ``LSTM``, ``GRU``) is trained alone: a stack would run one time step
      after the other in Python, where torch has one kernel for the whole sequence.
    - On a CPU, a model with a convolution is trained alone: stacked filters are a grouped convolution, for which
      the kernels are slower.
    - On a CPU, as many other models share a pass as have parameters and moments in :data:`CACHE_BYTES`; where that is
      one model, it is trained alone.
    - On a GPU, all others share a pass, which starts as many kernels as one model.

    Args:
        model: one of the models.
        recipe: optimiser, which decides the number of moments.
        device: device to train on.
    """
    alone = PassChoice(1, stacked=False)
    if any(isinstance(module, nn.RNNBase) for module in model.modules()):
        return alone
    if torch.device(device).type != "cpu":
        return PassChoice(_UNBOUNDED, stacked=True)
    if any(isinstance(module, _ConvNd) for module in model.modules()):
        return alone
    trained = [value for value in model.parameters() if value.requires_grad]
    state = n_slots(recipe) * sum(value.numel() * value.element_size() for value in trained)
    models = CACHE_BYTES // max(1, state)
    return PassChoice(models, stacked=True) if models > 1 else alone


_UNBOUNDED = 2**31

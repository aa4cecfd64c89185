"""Choice between one pass of several models and one model after the other, and the number of models in a pass.

The choice depends on the model, the recipe, the shapes of the data and the kind of device, and not on the machine or its
load: the same key gives the same bytes.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from proponent.config.recipe_schema import RecipeConfig
from proponent.rows import Rows
from proponent.settings.tasks import Task
from proponent.torch_failures import FAILURES
from proponent.training.kept_activations import pass_bytes
from proponent.training.update import n_slots

ALONE_BYTES = 4 * 2**20
"""Parameters, moments, batch and activations of a model that is trained alone on a CPU if it has more.

A stack saves the fixed cost of an operation, some microseconds, which matters for small networks only. A transformer whose
pass keeps 100 MiB was a third slower in a stack, since nothing stayed in the caches (``benchmarks/lockstep.py``).
"""
STACK_BYTES = 64 * 2**20
"""The same of all models that share a pass on a CPU.

The MNIST network (1.2 MiB) was fastest with 48 models, 1.7 times as fast as an ordinary loop, against 1.5 times with 16 and
1.4 times with 8 models.
"""
MEASURED = 8
"""Examples whose activations are measured; those of a batch are in proportion."""


class PassChoice(NamedTuple):
    """How models are trained.

    Attributes:
        models: largest number of models that are trained at the same time.
        stacked: whether they share one batched pass; otherwise they are trained one after the other.
    """

    models: int
    stacked: bool


def pass_choice(
    model: nn.Module, x: Rows, y: Tensor, task: Task, recipe: RecipeConfig, device: str
) -> PassChoice:
    """Return how to train models of one architecture where it is fastest.

    - A model with a recurrent layer (``nn.RNN``, ``LSTM``, ``GRU``) is trained alone: a stack would run one time step
      after the other in Python, where torch has one kernel for the whole sequence.
    - On a CPU, a model with a convolution (``nn.Conv1d`` and so on) is trained alone: stacked filters are a grouped
      convolution, whose kernels are slower.
    - On a CPU, a model with more than :data:`ALONE_BYTES` of parameters, moments, batch and activations is trained alone;
      as many others share a pass as have :data:`STACK_BYTES` together.
    - On a GPU, all others share a pass, which starts as many kernels as one model.

    Args:
        model: one of the models, on the device.
        x: (n, …) training inputs.
        y: (n, …) training labels.
        task: task that gives the loss.
        recipe: optimiser, which decides the number of moments, and batch size.
        device: device to train on.
    """
    alone = PassChoice(1, stacked=False)
    if is_recurrent(model):
        return alone
    if torch.device(device).type != "cpu":
        return PassChoice(sys.maxsize, stacked=True)
    if any(isinstance(module, _ConvNd) for module in model.modules()):
        return alone
    trained = [value for value in model.parameters() if value.requires_grad]
    size = n_slots(recipe) * sum(value.numel() * value.element_size() for value in trained)
    if size > ALONE_BYTES:
        return alone
    try:
        examples = min(MEASURED, recipe.largest_batch, len(y))
        used = pass_bytes(model, x[:examples], y[:examples], task)
        size += sum(used) * min(recipe.largest_batch, len(y)) // examples
    except FAILURES:
        pass  # the first step says what is wrong
    return alone if size > ALONE_BYTES else PassChoice(STACK_BYTES // size, stacked=True)


def is_recurrent(model: nn.Module) -> bool:
    """Return whether a model has a recurrent layer, for whose kernels ``vmap`` has no rule."""
    return any(isinstance(module, nn.RNNBase) for module in model.modules())

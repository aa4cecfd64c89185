"""How many models a device holds while they are trained in lockstep: arithmetic from shapes and one forward pass.

The answer depends on the model, the recipe, the data and the size of the device's memory, never on what happens to be
free: two devices of one kind train in the same groups, and so to the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from proponent.config.schema import Optimizer, RecipeConfig
from proponent.settings.tasks import Task
from proponent.torch_compat import stackable
from proponent.training.designs import Run
from proponent.training.dropout import recorded_draws

SHARE = 0.8
"""Of the device's memory; the rest is for the driver, libraries' workspaces and gaps between tensors."""


def models_that_fit(
    build: Callable[[int], nn.Module],
    x: Tensor,
    y: Tensor,
    task: Task,
    recipe: RecipeConfig,
    runs: Sequence[Run],
    device_bytes: int,
    *,
    device: str,
    checkpoints: int = 0,
) -> int:
    """Return how many of the runs' models can be trained at a time, at least one.

    Args:
        build: from a seed to a new model.
        x: (n, …) training inputs.
        y: (n, …) training labels.
        task: gives the loss.
        recipe: optimiser and batch size.
        runs: all that are trained in this job, whose results stay on the device until its end.
        device_bytes: size of the device's memory.
        device: where one model is tried.
        checkpoints: kept of each model beside its final state.
    """
    model = build(runs[0].init_seed)
    state = _bytes(model.parameters()) + _bytes(model.buffers())
    shared = _bytes([x, y]) + len(runs) * (1 + checkpoints) * state
    own = bytes_of_one(model, x, y, task, recipe, device) + _bytes_of_order(runs, len(x))
    return min(len(runs), max(1, int(SHARE * device_bytes - shared) // own))


def bytes_of_one(
    model: nn.Module, x: Tensor, y: Tensor, task: Task, recipe: RecipeConfig, device: str
) -> int:
    """Return what one more model takes at the peak of an optimiser step.

    That is its parameters and their moments; their gradients, and a copy of these in the optimiser's order; a batch; and
    what the forward pass keeps, three times: the backward pass makes gradients of it, and stacked kernels copies.
    """
    model = model.to(device).train()
    x, y = x[: recipe.batch_size].to(device), y[: recipe.batch_size].to(device)
    trained = [value for value in model.parameters() if value.requires_grad]
    moments = 2 if recipe.optimizer is not Optimizer.sgd else int(recipe.momentum > 0)
    own = {value.untyped_storage().data_ptr() for value in (*model.parameters(), *model.buffers(), x, y)}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    with stackable(), recorded_draws() as draws, torch.enable_grad(), hooks:
        loss = task.loss(model(x), y).mean()
    masks = sum(torch.Size(draw.shape).numel() * draw.dtype.itemsize for draw in draws)
    del loss
    fixed = _bytes(model.parameters()) + _bytes(model.buffers()) - _bytes(trained)
    return fixed + (3 + moments) * _bytes(trained) + _bytes([x, y]) + 3 * (sum(kept.values()) + masks)


def _bytes_of_order(runs: Sequence[Run], n: int) -> int:
    """Return what the order of a model's examples takes, and their weights."""
    return n * (8 + 4 * any(run.by_weight for run in runs))


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(value.numel() * value.element_size() for value in tensors)

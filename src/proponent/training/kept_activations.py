"""Memory that the forward pass of one model keeps for its backward pass."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from proponent.rows import Rows, named_tensors, outputs_and_tensors
from proponent.settings.tasks import Task
from proponent.torch_compat import stackable
from proponent.training.dropout import recorded_draws


class PassBytes(NamedTuple):
    """Bytes of a pass of one model over a batch.

    Attributes:
        batch: inputs and labels.
        kept: tensors that the forward pass keeps, without parameters, buffers and the batch.
        masks: dropout masks.
    """

    batch: int
    kept: int
    masks: int


def pass_bytes(model: nn.Module, x: Rows, y: Tensor, task: Task) -> PassBytes:
    """Run one forward pass in the mode of the model, which leaves its buffers as they are, and measure it.

    Args:
        model: model.
        x: (b, …) inputs of a batch, on the device of the model.
        y: (b, …) labels.
        task: task that gives the loss.
    """
    x = x.clone()  # a model that changes its input is refused later, by name
    batch = [*named_tensors(x).values(), y]
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    own = {value.untyped_storage().data_ptr() for value in (*model.parameters(), *buffers.values(), *batch)}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    with stackable(), recorded_draws() as draws, torch.enable_grad(), hooks:
        loss = task.loss(outputs_and_tensors(model, x, buffers)[0], y).mean()
    del loss
    masks = sum(torch.Size(draw.shape).numel() * draw.dtype.itemsize for draw in draws)
    return PassBytes(sum(value.numel() * value.element_size() for value in batch), sum(kept.values()), masks)

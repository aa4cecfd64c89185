"""A trained model with every derivative written out, by plain autograd in float64, for any model, task and input kind."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from proponent.settings.split import Arrays
from proponent.settings.tasks import Task

Value = Callable[[Tensor, Tensor], Tensor]


def outputs_of(module: nn.Module, x: Any) -> Tensor:
    """Return the outputs: one tensor is passed by position, named tensors by position or by keyword.

    Of the outputs of a model of transformers, these are the logits.
    """
    positional = () if not isinstance(x, Tensor) else (x,)
    if not positional and x.positional:
        positional = tuple(x.tensors.values())
    found = module(*positional) if positional else module(**x.tensors)
    return found if isinstance(found, Tensor) else found.logits


class DenseModel:
    """One model in eval mode, whose gradients are rows over all trainable parameters, in their order in the module.

    Args:
        module: trained model in float64.
        task: task that gives loss and target.
        data: training examples and queries; weights among them multiply the losses.
    """

    def __init__(self, module: nn.Module, task: Task, data: Arrays) -> None:
        self.module, self.task, self.data = module.eval(), task, data
        ones = torch.ones(len(data.y_train), dtype=torch.float64)
        self.factors = ones if data.weight_train is None else data.weight_train.double()
        self.names = [name for name, value in module.named_parameters() if value.requires_grad]
        self.parameters = [value for value in module.parameters() if value.requires_grad]

    @cached_property
    def bases(self) -> Tensor:
        """Gradients of the bases of the training examples, (n_train, p): of their targets, or of minus their losses."""
        return self._gradients(self.data.x_train, self.data.y_train, self.task.base)

    @cached_property
    def queries(self) -> Tensor:
        """Gradients of the targets of the queries, (n_query, p)."""
        return self._gradients(self.data.x_query, self.data.y_query, self.task.target)

    @cached_property
    def losses(self) -> Tensor:
        """Gradients of the losses of the training examples, (n_train, p)."""
        return self.factors[:, None] * self._gradients(self.data.x_train, self.data.y_train, self.task.loss)

    @cached_property
    def loss_weights(self) -> Tensor:
        """Factors w with gradient of the loss = -w * gradient of the base, (n_train,)."""
        return -(self.losses * self.bases).sum(1) / self.bases.square().sum(1)

    @cached_property
    def ggn(self) -> Tensor:
        """Generalised Gauss-Newton matrix ``(1/n) sum_i J_iᵀ H_i J_i`` of the mean loss, (p, p)."""
        y = self.data.y_train
        outputs = outputs_of(self.module, self.data.x_train)
        flat = outputs.flatten(1)
        jacobian = self._rows(flat.flatten()).reshape(*flat.shape, -1)
        free = flat.detach().requires_grad_(True)
        losses = self.task.loss(free.view_as(outputs), y)
        (slope,) = torch.autograd.grad(losses.sum(), free, create_graph=True)
        # No example's loss depends on another one's outputs, so that one pass gives the same row of all Hessians.
        bend = torch.stack(
            [torch.autograd.grad(column.sum(), free, retain_graph=True)[0] for column in slope.unbind(1)], 1
        )
        return torch.einsum("n,ncp,ncd,ndq->pq", self.factors, jacobian, bend, jacobian) / len(flat)

    @cached_property
    def representations(self) -> tuple[Tensor, Tensor]:
        """Inputs of the last linear layer for training examples and queries, averaged over positions, (n, width)."""
        last = [part for part in self.module.modules() if isinstance(part, nn.Linear)][-1]
        found: list[Tensor] = []
        handle = last.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0].detach()))
        for x in (self.data.x_train, self.data.x_query):
            outputs_of(self.module, x)
        handle.remove()
        train, query = (each.reshape(len(each), -1, each.shape[-1]).mean(1) for each in found)
        return train, query

    def _gradients(self, x: Any, y: Tensor, value: Value) -> Tensor:
        return self._rows(value(outputs_of(self.module, x), y))

    def _rows(self, values: Tensor) -> Tensor:
        """Return the gradient of each of ``values`` (k,) by an ordinary backward pass, (k, p)."""
        rows = []
        for value in values:
            found = torch.autograd.grad(
                value, self.parameters, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            rows.append(torch.cat([gradient.to_dense().flatten() for gradient in found]))
        return torch.stack(rows)

    def columns(self, names: list[str]) -> Tensor:
        """Return the columns of the parameters with these names, one after the other, as indices."""
        sizes = [parameter.numel() for parameter in self.parameters]
        ranges = dict(zip(self.names, torch.arange(sum(sizes)).split(sizes), strict=True))
        return torch.cat([ranges[name] for name in names])

"""Forward and backward pass of a stack of models, each on a batch of its own."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import vmap

from proponent.batch_statistics import running_statistics, statistics_of
from proponent.errors import UserError
from proponent.rows import Rows
from proponent.settings.model_diagnosis import diagnose, gradients_agree
from proponent.settings.tasks import Task
from proponent.torch_failures import explained
from proponent.training.dropout import given_masks, recorded_draws
from proponent.training.stack import Stack, call_in_training


class Batches(NamedTuple):
    """One batch for each of several models, all of one size b.

    Attributes:
        x: (models, b, …) inputs.
        y: (models, b, …) labels.
        weights: (models, b) 0 for examples that a model leaves out, otherwise 1; None if no model leaves out any.
        masks: (models, …) dropout masks, in the order in which the forward pass needs them.
    """

    x: Rows
    y: Tensor
    weights: Tensor | None
    masks: list[Tensor]


class StackedPass:
    """Losses and gradients of all models of a range in one batched pass.

    Args:
        stack: models.
        task: task that gives the loss.
    """

    def __init__(self, stack: Stack, task: Task) -> None:
        self._stack, self._task = stack, task

    def gradients(self, rows: slice, batches: Batches, *, compare: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the losses (models,) of a range of models, and the gradients (models, …) by trained parameter.

        Parameters on which the loss does not depend have no gradient.

        Args:
            rows: range of the models.
            batches: their batches.
            compare: whether to compare the gradients of the last model with those of an ordinary pass.

        Raises:
            UserError: the model cannot be trained in lockstep, or its gradients differ from ordinary ones.
        """
        x, y, weights, masks = batches
        stack = self._stack
        trained = {name: value[rows].detach().requires_grad_() for name, value in stack.trained.items()}
        tensors = trained | {name: value[rows] for name, value in stack.fixed.items()}
        moving = {
            name: value[rows.start] if name in stack.counters else value[rows]
            for name, value in stack.moving.items()
        }
        own: Any = {name: None if name in stack.counters else 0 for name in moving}
        axes = (0, own, 0, 0, None if weights is None else 0, 0)
        what = f"cannot be trained in lockstep on a batch of {y.shape[1]} examples"
        with explained(stack.template, what):
            losses, moved = vmap(self._loss, in_dims=axes, out_dims=(0, own))(
                tensors, moving, x, y, weights, masks
            )
            slopes = torch.autograd.grad(losses.sum(), list(trained.values()), allow_unused=True)
        gradients = {name: slope for name, slope in zip(trained, slopes, strict=True) if slope is not None}
        if compare:
            with explained(self._stack.template, "cannot be trained"):
                self._compare_with_ordinary(gradients, tensors, moving, batches)
        for name, value in moved.items():
            stack.moving[name][rows] = value
        return losses.detach(), gradients

    def _loss(
        self,
        tensors: dict[str, Tensor],
        moving: dict[str, Tensor],
        x: Rows,
        y: Tensor,
        weights: Tensor | None,
        masks: list[Tensor],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of one model on its batch, and its moving buffers after the pass.

        The loss is a mean over all examples, to which left-out ones add 0.
        """
        with (
            given_masks(masks) if masks else nullcontext(),
            statistics_of(weights) if weights is not None else nullcontext(),
        ):
            outputs, moved = call_in_training(self._stack.template, tensors, moving, x)
        losses = self._task.loss(outputs, y)
        return losses.mean() if weights is None else (losses * weights).mean(), moved

    def _compare_with_ordinary(
        self,
        gradients: dict[str, Tensor],
        tensors: dict[str, Tensor],
        moving: dict[str, Tensor],
        batches: Batches,
    ) -> None:
        """Refuse a model whose gradients differ from those of ordinary training.

        This finds layers that treat stacked parameters wrongly. The last model is compared, since an error may spare
        the first one of a stack (as with the padding of embeddings).
        """
        x, y, weights, masks = batches
        own = {name: value[-1].detach().requires_grad_(name in gradients) for name, value in tensors.items()}
        buffers = {
            name: value if name in self._stack.counters else value[-1] for name, value in moving.items()
        }
        only = weights[-1] if weights is not None else None
        drops = [mask[-1] for mask in masks]
        loss, _ = self._loss(own, buffers, x[-1].clone(), y[-1], only, drops)
        ordinary = torch.autograd.grad(loss, [own[name] for name in gradients])
        largest = max(float(gradient.abs().max()) for gradient in ordinary if gradient.numel())
        for name, gradient in zip(gradients, ordinary, strict=True):
            if not gradient.numel():
                continue
            if not bool(gradient.isfinite().all()):
                raise UserError(
                    f"the gradient of the model's '{name}' is NaN or infinite on the first batch, before any training; "
                    "look for a division, log, sqrt or norm of 0 in the model, and for extreme values in the data"
                )
            if not gradients_agree(gradients[name][-1], gradient, largest):
                difference = float((gradients[name][-1] - gradient).abs().max())
                cause = diagnose(self._stack.template, lambda some: self._ordinary(own, buffers, some), x[-1])
                raise UserError(
                    cause
                    or f"lockstep training gets the gradient of the model's '{name}' wrong, by {difference:.1e} (the "
                    f"largest gradient is {largest:.1e}); compute this parameter's layer with other operations"
                )

    def _ordinary(self, tensors: dict[str, Tensor], moving: dict[str, Tensor], x: Rows) -> Tensor:
        """Return the outputs of one model without dropout and statistics of the batch."""
        with recorded_draws(), running_statistics():
            return call_in_training(self._stack.template, tensors, moving, x)[0]

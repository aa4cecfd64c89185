"""Forward and backward pass of a stack of models, each on a batch of its own."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import vmap

from proponent.batch_statistics import running_statistics, statistics_of
from proponent.errors import UserError
from proponent.rows import Rows, in_double, map_rows
from proponent.settings.model_diagnosis import diagnose, gradients_agree
from proponent.settings.tasks import Task
from proponent.torch_failures import explained
from proponent.training.dropout import given_masks, recorded_draws
from proponent.training.gradient_products import Gradient, computed
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


class ModelPass(ABC):
    """Losses and gradients of several models, each on a batch of its own.

    Args:
        task: task that gives the loss.
        compare: whether the first gradients are compared with those of an ordinary pass.
    """

    def __init__(self, task: Task, *, compare: bool) -> None:
        self._task, self._compare = task, compare

    def gradients(self, stack: Stack, rows: slice, batches: Batches) -> tuple[Tensor, Mapping[str, Gradient]]:
        """Return the losses (models,) of a range of models, and the gradients (models, …) by trained parameter.

        Parameters on which the loss does not depend have no gradient. Moving buffers of the stack are updated.

        Args:
            stack: models, whose template is in training mode.
            rows: range of the models.
            batches: their batches.

        Raises:
            UserError: the model cannot be trained in lockstep, or its gradients differ from ordinary ones.
        """
        with explained(stack.template, self._failure(batches.y.shape[1])):
            losses, gradients, moved = self._run(stack, rows, batches)
        if self._compare:
            self._compare = False
            with explained(stack.template, "cannot be trained"):
                self._check_first(stack, rows, losses, gradients, batches)
        for name, value in moved.items():
            stack.moving[name][rows] = value
        return losses, gradients

    def leaves_products(self, stack: Stack) -> bool:
        """Return whether most passes will leave gradients of weights as products, whose memory order is free."""
        return False

    @abstractmethod
    def _run(
        self, stack: Stack, rows: slice, batches: Batches
    ) -> tuple[Tensor, Mapping[str, Gradient], dict[str, Tensor]]:
        """Return the losses, the gradients, and the moving buffers after the pass."""

    @abstractmethod
    def _failure(self, size: int) -> str:
        """Return the predicate of a message about a failure of a pass with batches of ``size`` examples."""

    def _loss(
        self,
        stack: Stack,
        tensors: dict[str, Tensor],
        moving: dict[str, Tensor],
        batch: Batches,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of one model on its batch, and its moving buffers after the pass.

        The loss is a mean over all examples, to which left-out ones add 0.
        """
        x, y, weights, masks = batch
        with (
            given_masks(masks) if masks else nullcontext(),
            statistics_of(weights) if weights is not None else nullcontext(),
        ):
            outputs, moved = call_in_training(stack.template, tensors, moving, x)
        losses = self._task.loss(outputs, y)
        return losses.mean() if weights is None else (losses * weights).mean(), moved

    @abstractmethod
    def _check_first(
        self,
        stack: Stack,
        rows: slice,
        losses: Tensor,
        gradients: Mapping[str, Gradient],
        batches: Batches,
    ) -> None:
        """Refuse a model whose first pass differs from an ordinary pass of its last model."""

    def _ordinary_loss(self, stack: Stack, row: int, batches: Batches) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a model on the last of the batches by an ordinary pass, and the tensors of the model."""
        own = {name: value[row].detach() for name, value in (stack.trained | stack.fixed).items()}
        own |= {name: own[name].requires_grad_() for name in stack.trained}
        batch = batch_of(batches, -1)
        moving = {name: value[row] for name, value in stack.moving.items()}
        return self._loss(stack, own, moving, batch._replace(x=batch.x.clone()))[0], own


class StackedPass(ModelPass):
    """One batched pass of all models, by ``torch.func.vmap``."""

    def _run(
        self, stack: Stack, rows: slice, batches: Batches
    ) -> tuple[Tensor, Mapping[str, Gradient], dict[str, Tensor]]:
        trained = {name: value[rows].detach().requires_grad_() for name, value in stack.trained.items()}
        tensors = trained | {name: value[rows] for name, value in stack.fixed.items()}
        moving = {
            name: value[rows.start] if name in stack.counters else value[rows]
            for name, value in stack.moving.items()
        }
        own: Any = {name: None if name in stack.counters else 0 for name in moving}
        axes = Batches(0, 0, None if batches.weights is None else 0, 0)  # type: ignore[arg-type]
        losses, moved = vmap(
            lambda tensors, moving, batch: self._loss(stack, tensors, moving, batch),
            in_dims=(0, own, axes),
            out_dims=(0, own),
        )(tensors, moving, batches)
        ones = torch.ones_like(losses, requires_grad=False)
        slopes = torch.autograd.grad(losses, list(trained.values()), ones, allow_unused=True)
        gradients = {name: slope for name, slope in zip(trained, slopes, strict=True) if slope is not None}
        return losses.detach(), gradients, moved

    def _check_first(
        self,
        stack: Stack,
        rows: slice,
        losses: Tensor,
        gradients: Mapping[str, Gradient],
        batches: Batches,
    ) -> None:
        """Refuse a model whose gradients differ from those of ordinary training.

        This finds layers that treat stacked parameters wrongly. The last model is compared, since an error may spare
        the first one of a stack (as with the padding of embeddings).
        """
        problem = self._disagreement(stack, rows, gradients, batches)
        if problem:
            cause = cause_of_difference(stack, rows.stop - 1, batches)
            if cause or not self._agrees_in_double(stack, rows, batches):
                raise UserError(cause or problem)

    def _disagreement(
        self, stack: Stack, rows: slice, gradients: Mapping[str, Gradient], batches: Batches
    ) -> str | None:
        """Return which gradient of the last model differs from that of an ordinary pass, as a message; None if none does."""
        loss, own = self._ordinary_loss(stack, rows.stop - 1, batches)
        slopes = torch.autograd.grad(loss, [own[name] for name in gradients])
        ordinary = {name: slope.to_dense() for name, slope in zip(gradients, slopes, strict=True)}
        refuse_not_finite(ordinary)
        largest = max(float(gradient.abs().max()) for gradient in ordinary.values() if gradient.numel())
        for name, gradient in ordinary.items():
            found = computed(gradients[name][-1:])[0]
            if gradient.numel() and not gradients_agree(found, gradient, largest):
                difference = float((found - gradient).abs().max())
                return (
                    f"lockstep training gets the gradient of the model's '{name}' wrong, by {difference:.1e} (the "
                    f"largest gradient is {largest:.1e}); compute this parameter's layer with other operations"
                )
        return None

    def _agrees_in_double(self, stack: Stack, rows: slice, batches: Batches) -> bool:
        """Return whether the gradients of the last model agree in double precision, next to the first of its stack.

        Gradients jump where the input of a ReLU is 0 up to rounding, which differs between the passes. False where the
        model or its task cannot use double precision.
        """
        if any(value.dtype != torch.float32 for value in stack.trained.values()):
            return False
        ends = [rows.start, rows.stop - 1]

        def doubled(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: in_double(value[ends]) for name, value in tensors.items()}

        try:
            twin = replace(
                stack,
                template=copy.deepcopy(stack.template).double(),
                trained=doubled(stack.trained),
                fixed=doubled(stack.fixed),
                moving=doubled(stack.moving),
            )
            x, y, weights, masks = batches
            some = Batches(
                map_rows(x, lambda value: in_double(value[[0, -1]])),
                in_double(y[[0, -1]]),
                None if weights is None else weights[[0, -1]].double(),
                [mask[[0, -1]].double() for mask in masks],
            )
            both = slice(0, 2)
            _, gradients, _ = StackedPass._run(self, twin, both, some)
            return self._disagreement(twin, both, gradients, some) is None
        except (UserError, RuntimeError, TypeError):
            return False

    def _failure(self, size: int) -> str:
        return f"cannot be trained in lockstep on a batch of {size} examples"


def batch_of(batches: Batches, model: int) -> Batches:
    """Return the batch of one model."""
    x, y, weights, masks = batches
    only = None if weights is None else weights[model]
    return Batches(x[model], y[model], only, [mask[model] for mask in masks])


def refuse_not_finite(gradients: Mapping[str, Tensor]) -> None:
    """Raise a UserError if a gradient of the first batch is NaN or infinite."""
    for name, gradient in gradients.items():
        if not bool(gradient.isfinite().all()):
            raise UserError(
                f"the gradient of the model's '{name}' is NaN or infinite on the first batch, before any training; "
                "look for a division, log, sqrt or norm of 0 in the model, and for extreme values in the data"
            )


def cause_of_difference(stack: Stack, row: int, batches: Batches) -> str | None:
    """Return why two passes of one model over the last of the batches differ, as a message; None if it is not known."""
    tensors = {name: value[row].detach() for name, value in (stack.trained | stack.fixed).items()}
    moving = {name: value[row] for name, value in stack.moving.items()}

    def outputs(x: Rows) -> Tensor:
        """Return the outputs without dropout and statistics of the batch."""
        with recorded_draws(), running_statistics():
            return call_in_training(stack.template, tensors, moving, x)[0]

    return diagnose(stack.template, outputs, batch_of(batches, -1).x)

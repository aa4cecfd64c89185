"""Forward and backward passes of several models, one model after the other."""

from __future__ import annotations

import operator
from collections.abc import Mapping

import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.settings.tasks import Task
from proponent.training.gradient_products import Gradient, computed
from proponent.training.stack import Stack
from proponent.training.stacked_pass import (
    Batches,
    ModelPass,
    batch_of,
    cause_of_difference,
    refuse_not_finite,
)

SAME_LOSS = 1e-4
"""Relative difference of the losses of two passes of one model over one batch that may be rounding."""


class LoopedPass(ModelPass):
    """One ordinary pass per model, with torch's own kernels for convolutions, recurrent layers and attention."""

    def __init__(self, task: Task, *, compare: bool) -> None:
        super().__init__(task, compare=compare)
        self._lent: list[Tensor] = []
        self._lent_row = -1
        self._parameters: dict[str, Tensor] = {}

    def _run(
        self, stack: Stack, rows: slice, batches: Batches
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        found = [
            self._one(stack, row, batch_of(batches, index))
            for index, row in enumerate(range(rows.start, rows.stop))
        ]
        losses, gradients, moved = zip(*found, strict=True)
        return torch.stack(losses), _stacked(gradients), _stacked(moved)

    def _one(
        self, stack: Stack, row: int, batch: Batches
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        moving = {name: value[row] for name, value in stack.moving.items()}
        if moving:
            trained = {name: value[row].detach().requires_grad_() for name, value in stack.trained.items()}
            tensors = trained | {name: value[row] for name, value in stack.fixed.items()}
        else:
            trained, tensors = self._lend(stack, row), {}
        loss, moved = self._loss(stack, tensors, moving, batch)
        slopes = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
        gradients = {
            name: slope.to_dense()  # lookups may ask for sparse gradients
            for name, slope in zip(trained, slopes, strict=True)
            if slope is not None
        }
        return loss.detach(), gradients, moved

    def _lend(self, stack: Stack, row: int) -> dict[str, Tensor]:
        """Let the template have the memory of a model's tensors, and return its trained parameters.

        They follow every update in place, so that this is done once per model and not in every step, where replacing the
        tensors takes 0.3 ms for an LSTM and 0.9 ms for a transformer.
        """
        lent = [*stack.trained.values(), *stack.fixed.values()]
        known = len(lent) == len(self._lent) and all(map(operator.is_, lent, self._lent))
        if not known or row != self._lent_row:
            own = dict(stack.template.named_parameters()) | dict(stack.template.named_buffers())
            for name, value in (stack.trained | stack.fixed).items():
                own[name].data = value[row].detach()
            self._lent, self._lent_row = lent, row
            self._parameters = {name: own[name] for name in stack.trained}
        return self._parameters

    def _check_first(
        self,
        stack: Stack,
        rows: slice,
        losses: Tensor,
        gradients: Mapping[str, Gradient],
        batches: Batches,
    ) -> None:
        """Refuse a model that is random, and gradients that are not finite.

        The pass is an ordinary one: another forward pass finds what another backward pass would find.
        """
        refuse_not_finite({name: computed(gradient[-1:]) for name, gradient in gradients.items()})
        again, _ = self._ordinary_loss(stack, rows.stop - 1, batches)
        if not torch.allclose(again, losses[-1], rtol=SAME_LOSS, atol=0):
            raise UserError(
                cause_of_difference(stack, rows.stop - 1, batches)
                or f"two passes of the model over the first batch have losses that differ by "
                f"{float((again - losses[-1]).abs()):.1e}; let it return the same outputs for the same inputs"
            )

    def _failure(self, size: int) -> str:
        return f"cannot be trained on a batch of {size} examples"


def _stacked(parts: tuple[dict[str, Tensor], ...]) -> dict[str, Tensor]:
    """Return tensors of several models with a leading axis of models; those of a single model are not copied."""
    if len(parts) == 1:
        return {name: value[None] for name, value in parts[0].items()}
    return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}

"""Dropout masks that a model needs for a batch, found by one pass that must change nothing."""

from __future__ import annotations

import torch

from proponent.errors import UserError
from proponent.rows import Rows, rows_equal
from proponent.settings.model_diagnosis import CHANGES_INPUT
from proponent.torch_failures import explained, layer_name
from proponent.training.dropout import Draw, recorded_draws
from proponent.training.stack import CHANGES_STATE, Stack, call_in_training, same, versions


class DropoutNeeds:
    """Masks by the size of a batch; most models need none.

    Args:
        stack: models, whose template is in training mode.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._draws: dict[int, list[Draw]] = {}

    def of(self, size: int, x: Rows) -> list[Draw]:
        """Return the masks of a model for a batch.

        Args:
            size: examples per batch.
            x: (size, …) inputs of a batch.

        Raises:
            UserError: the model cannot process the batch, or the pass changes its inputs or tensors.
        """
        if size not in self._draws:
            with explained(self._stack.template, f"cannot be trained on a batch of {size} examples"):
                self._draws[size] = self._found(x)
        return self._draws[size]

    def _found(self, x: Rows) -> list[Draw]:
        stack, given = self._stack, x.clone()
        before = versions(stack)
        first = {name: value[0].clone() for name, value in (stack.trained | stack.fixed).items()}
        kept = {name: value.clone() for name, value in first.items()}
        moving = {name: value[0] for name, value in stack.moving.items()}
        with torch.no_grad(), recorded_draws() as draws:
            call_in_training(stack.template, first, moving, given)
        if not rows_equal(given, x):
            raise UserError(f"{layer_name(stack.template, '')} {CHANGES_INPUT}")
        for name, version in versions(stack).items():
            # changes through .data leave the version as it is
            if version != before.get(name) or (name in kept and not same(first[name], kept[name])):
                raise UserError(f"the model's forward pass {CHANGES_STATE.format(name)}")
        return draws

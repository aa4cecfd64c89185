"""A stacked pass whose operations are recorded once and then run without ``vmap``, autograd or the Python of the model.

These take some hundred microseconds per pass, more than the matrix products of a small network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import replace

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_unflatten

from proponent.settings.model_diagnosis import gradients_agree
from proponent.training.graph_simplification import simplify
from proponent.training.stack import Stack
from proponent.training.stacked_pass import Batches, StackedPass

TRACED_AFTER = 300
"""Passes of one shape before they are recorded, which takes up to a second, more than fewer passes would save."""

Recorded = Callable[..., tuple[Tensor, ...]]


class TracedPass(StackedPass):
    """Stacked passes on a CPU of models without moving buffers; others are computed by the base class."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._passes: Counter[Hashable] = Counter()
        self._recorded: dict[Hashable, Recorded | None] = {}
        self._names: list[str] = []

    def _run(
        self, stack: Stack, rows: slice, batches: Batches
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        trained = [value[rows] for value in stack.trained.values()]
        fixed = [value[rows] for value in stack.fixed.values()]
        if stack.moving or batches.y.device.type != "cpu":
            return super()._run(stack, rows, batches)
        shape = (*batches.y.shape, batches.weights is None, *(value.stride() for value in trained))
        self._passes[shape] += 1
        if self._passes[shape] == TRACED_AFTER:
            return self._record(shape, stack, rows, batches)
        recorded = self._recorded.get(shape)
        if recorded is None:
            return super()._run(stack, rows, batches)
        with torch.no_grad():
            losses, *gradients = recorded(*trained, *fixed, *tree_flatten(batches)[0])
        return losses, dict(zip(self._names, gradients, strict=True)), {}

    def _record(
        self, shape: Hashable, stack: Stack, rows: slice, batches: Batches
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Record the passes of one shape, unless that fails or gives other gradients."""
        plain = super()._run
        losses, gradients, _ = plain(stack, rows, batches)
        self._names = list(gradients)
        leaves, structure = tree_flatten(batches)
        names = [*stack.trained, *stack.fixed]
        tensors = [value[rows] for value in (stack.trained | stack.fixed).values()]

        def flat(*values: Tensor) -> tuple[Tensor, ...]:
            own = dict(zip(names, values, strict=False))
            given = replace(
                stack,
                trained={name: own[name] for name in stack.trained},
                fixed={name: own[name] for name in stack.fixed},
            )
            losses, gradients, _ = plain(
                given, slice(0, len(values[0])), tree_unflatten(values[len(names) :], structure)
            )
            return losses, *gradients.values()

        self._recorded[shape] = None
        try:
            recorded = simplify(make_fx(flat)(*tensors, *leaves))
            with torch.no_grad():
                again = recorded(*tensors, *leaves)
        except Exception:  # recording only saves time, and what it cannot express the plain pass computes
            return losses, gradients, {}
        largest = max(float(value.abs().max()) for value in gradients.values())
        pairs = zip((losses, *gradients.values()), again, strict=True)
        if all(gradients_agree(other, value, largest) for value, other in pairs):
            self._recorded[shape] = recorded
        return losses, gradients, {}

"""A stacked pass whose operations are recorded once and then run without ``vmap``, autograd or the Python of the model.

These take some hundred microseconds per pass, more than the matrix products of a small network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_unflatten

from proponent.rows import named_tensors
from proponent.settings.model_diagnosis import gradients_agree
from proponent.training.gradient_products import Gradient, Product, computed, of_models
from proponent.training.graph_simplification import open_products, simplify
from proponent.training.stack import Stack
from proponent.training.stacked_pass import Batches, StackedPass

TRACED_AFTER = 300
"""Passes of one shape before they are recorded, which takes up to a second, more than fewer passes would save."""
LARGE_BYTES = 4 * 2**20
"""Parameters of all models of a pass from which it is recorded after :data:`LARGE_TRACED_AFTER` passes.

A pass of the MNIST network (48 models, 20 MiB) takes 25 ms, of which the recording saves ten.
"""
LARGE_TRACED_AFTER = 20

Gradients = dict[str, Gradient]


@dataclass(frozen=True)
class Recorded:
    """A recorded pass.

    Attributes:
        run: function of the leaves of :func:`_leaves` that returns the losses and the factors of the gradients.
        names: parameters with a gradient.
        transposed: per gradient, the last field of :class:`Product`; None if it is a tensor.
    """

    run: Callable[..., tuple[Tensor, ...]]
    names: tuple[str, ...]
    transposed: tuple[bool | None, ...]

    @torch.no_grad()
    def __call__(self, leaves: Sequence[Tensor | None]) -> tuple[Tensor, Gradients]:
        """Return the losses (models,), and the gradients (models, …) by parameter."""
        losses, *factors = self.run(*leaves)
        left = iter(factors)
        return losses, {
            name: next(left) if transposed is None else Product(next(left), next(left), transposed)
            for name, transposed in zip(self.names, self.transposed, strict=True)
        }


class TracedPass(StackedPass):
    """Stacked passes on a CPU of models without moving buffers; others are computed by the base class."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._passes: Counter[Hashable] = Counter()
        self._recorded: dict[Hashable, Recorded | None] = {}

    def leaves_products(self, stack: Stack) -> bool:
        """Return whether passes will be recorded."""
        return not stack.moving and next(iter(stack.trained.values())).device.type == "cpu"

    def _run(
        self, stack: Stack, rows: slice, batches: Batches
    ) -> tuple[Tensor, Mapping[str, Gradient], dict[str, Tensor]]:
        if not self.leaves_products(stack):
            return super()._run(stack, rows, batches)
        trained = [of_models(value, rows) for value in stack.trained.values()]
        inputs = (value.shape for value in named_tensors(batches.x).values())
        shape = (*batches.y.shape, *inputs, batches.weights is None, *(value.stride() for value in trained))
        recorded = self._recorded.get(shape)
        if recorded is not None:
            fixed = [of_models(value, rows) for value in stack.fixed.values()]
            return *recorded([*trained, *fixed, *_leaves(batches)]), {}
        self._passes[shape] += 1
        large = sum(value.numel() * value.element_size() for value in trained) > LARGE_BYTES
        if self._passes[shape] == (LARGE_TRACED_AFTER if large else TRACED_AFTER):
            return self._record(shape, stack, rows, batches)
        return super()._run(stack, rows, batches)

    def _record(
        self, shape: Hashable, stack: Stack, rows: slice, batches: Batches
    ) -> tuple[Tensor, Mapping[str, Gradient], dict[str, Tensor]]:
        """Record the passes of one shape, unless that fails or gives other gradients."""
        plain = super()._run
        losses, gradients, _ = plain(stack, rows, batches)
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
            return losses, *map(computed, gradients.values())

        try:
            graph = simplify(make_fx(flat)(*tensors, *leaves))
            _, *transposed = open_products(graph)
            recorded = Recorded(graph, tuple(gradients), tuple(transposed))
            again, others = recorded([*tensors, *_leaves(batches)])
        except Exception:  # recording only saves time, and what it cannot express the plain pass computes
            return losses, gradients, {}
        values = [losses, *map(computed, gradients.values())]
        largest = max(float(value.abs().max()) for value in values[1:])
        pairs = zip(values, [again, *map(computed, others.values())], strict=True)
        if all(gradients_agree(other, value, largest) for value, other in pairs):
            self._recorded[shape] = recorded
        return losses, gradients, {}


def _leaves(batches: Batches) -> list[Tensor | None]:
    """Return the fields of batches in the order of ``tree_flatten``, which takes 20 microseconds."""
    x, y, weights, masks = batches
    return [*named_tensors(x).values(), y, weights, *masks]

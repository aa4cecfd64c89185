"""A model as a function of one vector of parameters, and its derivatives: for replays of a training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from numpy.random import BitGenerator
from torch import Tensor, nn
from torch.func import grad, jvp, vjp, vmap
from torch.overrides import TorchFunctionMode

from proponent.chunking import chunks
from proponent.errors import UserError
from proponent.memory_budget import MIB
from proponent.rows import Rows, outputs_of
from proponent.settings.kept_buffers import buffers_kept
from proponent.settings.model_preparation import prepare_model
from proponent.settings.parameter_references import refuse_hidden_references
from proponent.settings.tasks import Task
from proponent.torch_compat import Attached, Rewritten, stackable
from proponent.torch_failures import explained, layer_name
from proponent.torch_imports import without_compiler
from proponent.torch_rewrites import WithoutTangent
from proponent.training.dropout import Draw, draw_masks, given_masks, recorded_draws
from proponent.training.stack import call, refuse_batch_statistics

PASS_MIB = 64
"""Memory for the activations of the vectors of one pass; more is not faster."""
EXAMPLES = 64
"""Examples per pass when gradients of a whole data set are taken."""

Value = Callable[[Tensor, Tensor], Tensor]
"""Function from outputs and labels to one number per example, such as a task's loss or target."""


class Batch(NamedTuple):
    """Inputs, labels and dropout masks of a batch; without masks the model drops nothing."""

    x: Rows
    y: Tensor
    masks: list[Tensor]


class FlatModel:
    """A model as a function of a vector (p,) of the trainable parameters that its outputs depend on.

    A lookup of an embedding's padding row gives the row no gradient. If the weight has another use that trains the row
    (tied embeddings), the outputs change with it all the same: a step's gradient g is then not the whole gradient of a
    function, and its Jacobian J is not symmetric. With the padding's lookups as a second argument c of the loss, J^T u is
    the whole gradient of the loss, with respect to parameters and c, differentiated along u with c fixed.

    Args:
        module: model, on the device of the data.
        task: task that gives the loss.
        x: (b, …) inputs of a batch of the usual size.

    Attributes:
        initial: (p,) parameters of the module as it was given.
        shapes: shapes of the parameters by name, in the order of the vector.
        vectors_at_a_time: derivatives that are computed in one pass.

    Raises:
        UserError: the model mixes the examples of a batch, or its outputs depend on no trainable parameter.
    """

    def __init__(self, module: nn.Module, task: Task, x: Rows) -> None:
        module = prepare_model(module)
        refuse_batch_statistics(module, training=True)
        self._module, self._task = module, task
        self._draws: dict[int, list[Draw]] = {}
        with explained(module, "cannot be replayed"), stackable(), recorded_draws():
            refuse_hidden_references(module.train(), x[:1])
            _refuse_moving_buffers(module, x[:2])
        trained = {name: value for name, value in module.named_parameters() if value.requires_grad}
        self.shapes = {name: tuple(value.shape) for name, value in self._used(trained, x).items()}
        self.initial = torch.cat([trained[name].detach().flatten() for name in self.shapes])
        self._bytes_per_vector = self._bytes_of_pass(x)
        self.vectors_at_a_time = max(1, PASS_MIB * MIB // self._bytes_per_vector)
        self._refuse_stopped(x[:2])

    def batch(self, x: Rows, y: Tensor, generator: BitGenerator) -> Batch:
        """Return a batch of training with the next dropout masks of ``generator``."""
        if len(x) not in self._draws:
            with stackable(), recorded_draws() as draws, torch.no_grad():
                outputs_of(self._module.train(), x)
            self._draws[len(x)] = draws
        masks = [mask[0].to(y.device) for mask in draw_masks(self._draws[len(x)], [generator])]
        return Batch(x, y, masks)

    def named(self, parameters: Tensor) -> dict[str, Tensor]:
        """Return the parameters of a vector (p,) by name."""
        sizes = [math.prod(shape) for shape in self.shapes.values()]
        return {
            name: part.reshape(shape)
            for (name, shape), part in zip(self.shapes.items(), parameters.split(sizes), strict=True)
        }

    def gradient(self, parameters: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the gradient (p,) of a batch's mean loss, and its losses (b,)."""
        with self._differentiated(training=True):
            slope: tuple[Tensor, Tensor] = grad(self._mean_loss, has_aux=True)(parameters, batch)
        return slope

    def jacobian(
        self, parameters: Tensor, batch: Batch, value: Value, *, training: bool = True, whole: bool = False
    ) -> Tensor:
        """Return the gradient of each example's value, (b, p), with the dropout masks of the batch.

        Args:
            parameters: (p,) parameters.
            batch: examples.
            value: function to differentiate.
            training: whether the model is in training mode.
            whole: whether padding that is trained by another use of its weight has a gradient by its lookups as well.
        """
        attached = whole and self._trains_padding
        with self._differentiated(training=training, padding=_identity if attached else Tensor.detach):
            found: Any = vjp(lambda point: self._values(point, batch, value), parameters)
            units = torch.eye(len(batch.x), dtype=parameters.dtype, device=parameters.device)
            return torch.cat([vmap(found[1])(some)[0] for some in units.split(self.vectors_at_a_time)])

    def gradients(
        self, parameters: Tensor, x: Rows, y: Tensor, value: Value, *, whole: bool = False
    ) -> Tensor:
        """Return the gradient of each example's value without dropout, (len(x), p); ``whole`` as in :meth:`jacobian`."""
        batches = [Batch(x[rows], y[rows], []) for rows in chunks(len(x), EXAMPLES)]
        return torch.cat(
            [self.jacobian(parameters, batch, value, training=False, whole=whole) for batch in batches]
        )

    def products(self, parameters: Tensor, batch: Batch, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return products of a batch's gradients and Hessian with each row of ``vectors`` (k, p).

        Returns:
            Inner products (k, b) with the examples' gradients, and products (k, p) with the transposed Jacobian of the
            gradient of the mean loss: its Hessian, except where padding is trained.
        """

        def slope(point: Tensor) -> tuple[Tensor, Tensor]:
            found: tuple[Tensor, Tensor] = grad(self._mean_loss, has_aux=True)(point, batch)
            return found

        def along(vector: Tensor) -> tuple[Tensor, Tensor]:
            found: Any = jvp(slope, (parameters,), (vector,))
            bent, moved = found[1]
            return moved, bent

        padding = WithoutTangent.apply if self._trains_padding else Tensor.detach
        with self._differentiated(training=True, padding=padding):
            found = [vmap(along)(some) for some in vectors.split(self.vectors_at_a_time)]
        return torch.cat([moved for moved, _ in found]), torch.cat([bent for _, bent in found])

    def _mean_loss(self, parameters: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        losses = self._values(parameters, batch, self._task.loss)
        return losses.mean(), losses

    def _values(self, parameters: Tensor, batch: Batch, value: Value) -> Tensor:
        with given_masks(batch.masks):
            outputs = call(self._module, self.named(parameters), batch.x)
        return value(outputs, batch.y)

    @contextmanager
    def _differentiated(
        self, *, training: bool, padding: Callable[[Tensor], Tensor] = Tensor.detach
    ) -> Iterator[None]:
        """Take derivatives of the model within the block, in train or eval mode; ``padding`` as in ``stackable``."""
        self._module.train(training)
        what = "cannot be replayed, since it cannot be differentiated twice"
        with explained(self._module, what), stackable(padding), Rewritten(), without_compiler():
            yield

    def pass_mib(self, vectors: int) -> float:
        """Return the memory of the activations in a pass for at most so many derivatives, in MiB."""
        return 2 * min(vectors, self.vectors_at_a_time) * self._bytes_per_vector / MIB

    def _bytes_of_pass(self, x: Rows) -> int:
        """Return the bytes of one derivative in a pass over a batch: twice what the pass keeps for the backward pass."""
        kept = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal kept
            kept += tensor.numel() * tensor.element_size()
            return tensor

        hooks = torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor)
        try:
            with stackable(), recorded_draws(), torch.enable_grad(), hooks:
                outputs_of(self._module.eval(), x)
        except RuntimeError:  # a transformation of the model's own allows no hooks: one vector at a time
            return PASS_MIB * 2**20
        return 2 * kept + 1

    def _used(self, trained: dict[str, nn.Parameter], x: Rows) -> dict[str, nn.Parameter]:
        """Return the parameters that the outputs depend on; the trainer does not change any others."""
        with stackable(), recorded_draws(), torch.enable_grad():
            outputs = outputs_of(self._module.train(), x[:1].clone())
        found = torch.autograd.grad(outputs.sum(), list(trained.values()), allow_unused=True)
        slopes = {
            id(value): slope
            for value, slope in zip(trained.values(), found, strict=True)
            if slope is not None
        }
        if not all(bool(slope.isfinite().all()) for slope in slopes.values()):
            raise UserError(
                f"{layer_name(self._module, '')} has derivatives that are NaN or infinite before any training; look for a "
                "log, sqrt or norm of 0"
            )
        self._trains_padding = self._has_trained_padding(slopes)
        used = {name: value for name, value in trained.items() if id(value) in slopes}
        if not used:
            raise UserError(
                "the model's outputs depend on no trainable parameter, so that there is no training to replay"
            )
        return used

    def _refuse_stopped(self, x: Rows) -> None:
        """Refuse a model whose outputs depend on parameters through ``detach``.

        The gradient of a step changes with such parameters, but its derivative in forward mode does not show it.
        """

        def moved(*modes: TorchFunctionMode) -> Tensor:
            def outputs(parameters: Tensor) -> Tensor:
                with recorded_draws():
                    return call(self._module, self.named(parameters), x)

            with ExitStack() as stack:
                for mode in (Rewritten(), *modes):
                    stack.enter_context(mode)
                found: Any = jvp(outputs, (self.initial,), (torch.ones_like(self.initial),))
            return found[1]

        with self._differentiated(training=True, padding=_identity):
            as_it_is, again, through = moved(), moved(), moved(Attached())
        # models that are random or give NaN have other refusals
        if torch.equal(as_it_is, again) and bool(
            (as_it_is - through).abs().max() > 1e-3 * through.abs().max()
        ):
            raise UserError(
                f"{layer_name(self._module, '')} uses parameters behind .detach(), through which a replay cannot follow "
                "the training; leave out detach, or the methods that replay"
            )

    def _has_trained_padding(self, slopes: dict[int, Tensor]) -> bool:
        """Return whether the padding row of an embedding is trained by another use of its weight."""
        lookups = (module for module in self._module.modules() if isinstance(module, nn.Embedding))
        padded = [module for module in lookups if module.padding_idx is not None]
        rows = (slopes[id(one.weight)][one.padding_idx] for one in padded if id(one.weight) in slopes)
        return any(bool(row.any()) for row in rows)


def _identity(rows: Tensor) -> Tensor:
    return rows


def _refuse_moving_buffers(module: nn.Module, x: Rows) -> None:
    """Refuse a model whose buffers change in training: they would be a part of the state that is replayed."""
    with torch.no_grad(), buffers_kept(module):
        before = {name: value.clone() for name, value in module.named_buffers()}
        outputs_of(module, x.clone())
        for name, value in module.named_buffers():
            if name in before and not torch.equal(before[name], value):
                raise UserError(
                    f"the model's buffer '{name}' changes in training, which a replay cannot follow; leave it constant, or "
                    "leave out the methods that replay"
                )

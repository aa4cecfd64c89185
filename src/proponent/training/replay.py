"""One training again, step by step, and its steps' derivatives: what exact unrolling needs.

A run is a pure function of the weights of its examples: initial parameters, order of the batches, dropout
masks and learning rates follow from its seeds and the recipe alone, as in the lockstep trainer. So any state
can be computed again, and only every sqrt(T)-th of T is kept (Griewank 1992): the walk back from the end
computes one stretch of states at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import grad, jvp, vjp, vmap

from proponent.config.schema import Optimizer, RecipeConfig
from proponent.errors import UserError
from proponent.settings.split import Arrays
from proponent.settings.tasks import Task
from proponent.torch_compat import stackable
from proponent.training.designs import Run
from proponent.training.dropout import Draw, draw_masks, given_masks, recorded_draws
from proponent.training.group import dropout_generator
from proponent.training.recipe import learning_rates
from proponent.training.stack import call, refuse_batch_statistics
from proponent.training.stages import epoch_order, place, stages_of
from proponent.training.update import derivatives, directions, n_slots, preconditioner, update

PASS_MIB = 64
"""Activations of the vectors that are worked on at a time; more is no faster."""
EXAMPLES = 64
"""Examples whose gradients are taken at a time."""


class _Batch(NamedTuple):
    """Inputs, labels and dropout masks; no masks outside training."""

    x: Tensor
    y: Tensor
    masks: list[Tensor]


@dataclass(frozen=True, eq=False)
class ReplayPoint:
    """Training after some number of steps; see :class:`proponent.methods.shared.needs.ReplayPoint`."""

    replay: Replay
    steps: int
    slots: Tensor

    def query_gradients(self) -> Tensor:
        """Return the gradients of the queries' targets, (n_query, p)."""
        replay = self.replay
        return replay.rows(self.slots[0], replay.data.x_query, replay.data.y_query, replay.task.target)

    def loss_gradients(self, examples: Tensor) -> Tensor:
        """Return the gradients of training examples' losses without dropout, (len(examples), p)."""
        replay = self.replay
        x, y = replay.data.x_train[examples], replay.data.y_train[examples]
        return replay.rows(self.slots[0], x, y, replay.task.loss)

    def preconditioner(self) -> Tensor:
        """Return the factors (p,) with which the optimiser multiplies gradients at this moment."""
        return preconditioner(self.replay.recipe, self.slots, self.steps)

    def directions(self, examples: Tensor) -> Tensor:
        """Return the steps against which each example alone would move the parameters next, (len(examples), p)."""
        return directions(self.replay.recipe, self.slots, self.loss_gradients(examples), self.steps)


@dataclass(frozen=True, eq=False)
class Step(ReplayPoint):
    """The state before a step, and the step; see :class:`proponent.methods.shared.needs.ReplayStep`."""

    examples: Tensor
    batch: _Batch

    @cached_property
    def _derivatives(self) -> tuple[Tensor, Tensor]:
        gradient, _ = self.replay.gradient(self.slots[0], self.batch)
        recipe, lr = self.replay.recipe, self.replay.rates[self.steps]
        return derivatives(recipe, self.slots, gradient, lr, self.steps)

    @property
    def transition(self) -> Tensor:
        """Derivatives of the slots after the step by the slots before it."""
        return self._derivatives[0]

    @property
    def gain(self) -> Tensor:
        """Derivatives of the slots after the step by the gradient of the batch's loss."""
        return self._derivatives[1]

    def gradients(self) -> Tensor:
        """Return the gradients of the losses of the batch's examples, (b, p)."""
        return self.replay.jacobian(self.slots[0], self.batch, self.replay.task.loss)

    def gradient_and_hessian_products(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return each example's slope along, and the loss's Hessian times, each row of ``vectors`` (k, p).

        Returns:
            (k, b) inner products with the examples' gradients, and (k, p) products with the Hessian of the
            batch's mean loss.
        """
        replay, parameters = self.replay, self.slots[0]

        def slope(point: Tensor) -> tuple[Tensor, Tensor]:
            found: tuple[Tensor, Tensor] = grad(replay.mean_loss, has_aux=True)(point, self.batch)
            return found

        def along(vector: Tensor) -> tuple[Tensor, Tensor]:
            found: Any = jvp(slope, (parameters,), (vector,))
            bent, moved = found[1]
            return moved, bent

        with replay.differentiated(self.batch, training=True):
            found = [vmap(along)(some) for some in vectors.split(replay.vectors_at_a_time)]
        return torch.cat([moved for moved, _ in found]), torch.cat([bent for _, bent in found])


class Replay:
    """One run, to be walked through from its end; see :class:`proponent.methods.shared.needs.Replay`.

    Args:
        build: from the seed of an initialisation to a model.
        task: gives loss and target.
        recipe: of the training.
        run: its seeds; all examples are kept.
        data: training examples and queries, on the device to work on.
        member: index of the run in the ensemble.
        memory_mib: for the vectors that are carried back.

    Raises:
        UserError: the model keeps batch statistics.
    """

    def __init__(
        self,
        build: Callable[[int], nn.Module],
        task: Task,
        recipe: RecipeConfig,
        run: Run,
        data: Arrays,
        member: int = 0,
        memory_mib: int = 1000,
    ) -> None:
        self.task, self.recipe, self.run, self.data, self.member = task, recipe, run, data, member
        self.n_train, self.n_query = len(data.x_train), len(data.x_query)
        self._stages = stages_of(recipe, run, self.n_train)
        self.rates: list[float] = learning_rates(recipe, self._stages).tolist()
        self.n_steps = len(self.rates)
        self.n_slots = n_slots(recipe)
        self.decay_is_decoupled = recipe.optimizer is Optimizer.adamw
        self._module = build(run.init_seed).to(data.x_train.device)
        refuse_batch_statistics(self._module)
        self._draws: dict[int, list[Draw]] = {}
        trained = {name: value for name, value in self._module.named_parameters() if value.requires_grad}
        self.shapes = {name: tuple(value.shape) for name, value in self._used(trained).items()}
        start = torch.cat([trained[name].detach().flatten() for name in self.shapes])
        self._start = torch.cat([start[None], start.new_zeros(self.n_slots - 1, len(start))])
        self.n_parameters = len(start)
        numbers = 2 * self.n_slots * self.n_parameters * start.element_size()
        self.queries_at_a_time = max(1, memory_mib * 2**20 // numbers)
        self.vectors_at_a_time = self._vectors_at_a_time()
        self._stretch = math.isqrt(self.n_steps - 1) + 1

    # what a method asks

    def end(self) -> ReplayPoint:
        """Return the end of training."""
        return ReplayPoint(self, self.n_steps, self._kept[1])

    def at(self, fraction: float) -> ReplayPoint:
        """Return training after a fraction of its steps, at least one of them."""
        steps = max(1, round(fraction * self.n_steps))
        if steps >= self.n_steps:
            return self.end()
        *_, step = self._steps(steps // self._stretch, steps + 1)
        return ReplayPoint(self, steps, step.slots)

    def backward(self) -> Iterator[Step]:
        """Yield all steps, the last first."""
        for stretch in reversed(range(len(self._kept[0]))):
            yield from reversed(list(self._steps(stretch, self.n_steps)))

    def parameters(self, moment: ReplayPoint) -> dict[str, Tensor]:
        """Return the parameters at a moment by name; those that no output depends on are left out."""
        return self._named(moment.slots[0])

    # what steps are made of

    @cached_property
    def _kept(self) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
        """The state at the start of every stretch with that of the dropout generator, and the final state."""
        slots, generator = self._start, dropout_generator(self.run)
        kept = []
        for index in range(self.n_steps):
            if index % self._stretch == 0:
                kept.append((slots, generator.get_state()))
            slots = self._after(index, slots, self._batch(index, generator)[1])
        return kept, slots

    def _steps(self, stretch: int, stop: int) -> Iterator[Step]:
        """Yield the steps of a stretch that come before ``stop``, the first one first."""
        slots, state = self._kept[0][stretch]
        generator = dropout_generator(self.run)
        generator.set_state(state)
        first = stretch * self._stretch
        for index in range(first, min(first + self._stretch, stop)):
            examples, batch = self._batch(index, generator)
            yield Step(self, index, slots, examples, batch)
            if index + 1 < min(first + self._stretch, stop):
                slots = self._after(index, slots, batch)

    def _after(self, index: int, slots: Tensor, batch: _Batch) -> Tensor:
        gradient, _ = self.gradient(slots[0], batch)
        return update(self.recipe, slots, gradient, self.rates[index], index)

    def _batch(self, index: int, generator: torch.Generator) -> tuple[Tensor, _Batch]:
        stage, epoch, batch = place(self._stages, index)
        size = self.recipe.batch_size
        examples = epoch_order(self.run, stage, epoch)[batch * size : (batch + 1) * size]
        examples = examples.to(self.data.x_train.device)
        x, y = self.data.x_train[examples], self.data.y_train[examples]
        if len(x) not in self._draws:
            with recorded_draws() as draws, torch.no_grad():
                self._module.train()(x)
            self._draws[len(x)] = draws
        masks = [mask[0].to(x.device) for mask in draw_masks(self._draws[len(x)], [generator])]
        return examples, _Batch(x, y, masks)

    def gradient(self, parameters: Tensor, batch: _Batch) -> tuple[Tensor, Tensor]:
        """Return the gradient (p,) of a batch's mean loss, and its losses (b,)."""
        with self.differentiated(batch, training=True):
            slope: tuple[Tensor, Tensor] = grad(self.mean_loss, has_aux=True)(parameters, batch)
        return slope

    def mean_loss(self, parameters: Tensor, batch: _Batch) -> tuple[Tensor, Tensor]:
        """Return the mean loss and the losses of a batch."""
        losses = self._values(parameters, batch, self.task.loss)
        return losses.mean(), losses

    def jacobian(
        self,
        parameters: Tensor,
        batch: _Batch,
        value: Callable[[Tensor, Tensor], Tensor],
        *,
        training: bool = True,
    ) -> Tensor:
        """Return the gradient of each example's value, (b, p): dropout and all, as in the batch."""
        with self.differentiated(batch, training=training):
            found: Any = vjp(lambda point: self._values(point, batch, value), parameters)
            units = torch.eye(len(batch.x), dtype=parameters.dtype, device=parameters.device)
            return torch.cat([vmap(found[1])(some)[0] for some in units.split(self.vectors_at_a_time)])

    def rows(
        self, parameters: Tensor, x: Tensor, y: Tensor, value: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """Return the gradient of each example's value without dropout, (len(x), p)."""
        pairs = zip(x.split(EXAMPLES), y.split(EXAMPLES), strict=True)
        return torch.cat(
            [self.jacobian(parameters, _Batch(*pair, []), value, training=False) for pair in pairs]
        )

    def _vectors_at_a_time(self) -> int:
        """How many derivatives are taken at a time, from what one pass over a batch keeps for the way back."""
        kept = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal kept
            kept += tensor.numel() * tensor.element_size()
            return tensor

        x = self.data.x_train[: self.recipe.batch_size]
        hooks = torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor)
        with recorded_draws(), torch.enable_grad(), hooks:
            self._module.eval()(x)
        return max(1, PASS_MIB * 2**20 // (2 * kept + 1))

    def differentiated(self, batch: _Batch, *, training: bool) -> Any:
        """Return the context in which derivatives of the model are taken."""
        self._module.train(training)
        return stackable()

    def _values(self, parameters: Tensor, batch: _Batch, value: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        with given_masks(batch.masks):
            outputs = call(self._module, self._named(parameters), batch.x)
        return value(outputs, batch.y)

    def _named(self, parameters: Tensor) -> dict[str, Tensor]:
        sizes = [math.prod(shape) for shape in self.shapes.values()]
        return {
            name: part.reshape(shape)
            for (name, shape), part in zip(self.shapes.items(), parameters.split(sizes), strict=True)
        }

    def _used(self, trained: dict[str, nn.Parameter]) -> dict[str, nn.Parameter]:
        """Return the parameters that the outputs depend on: the trainer leaves others as they are."""
        with recorded_draws(), torch.enable_grad():
            outputs = self._module.train()(self.data.x_train[:1])
        found = torch.autograd.grad(outputs.sum(), list(trained.values()), allow_unused=True)
        slopes = {
            id(value): slope
            for value, slope in zip(trained.values(), found, strict=True)
            if slope is not None
        }
        for name, module in self._module.named_modules():
            # A lookup passes padding on and sends nothing back, so that elsewhere the row would be no plain function.
            if isinstance(module, nn.Embedding) and module.padding_idx is not None:
                slope = slopes.get(id(module.weight))
                if slope is not None and bool(slope[module.padding_idx].any()):
                    raise UserError(
                        f"the padding of the model's '{name}' is trained by another use of its weight, which a replay "
                        "cannot follow; leave padding_idx out"
                    )
        used = {name: value for name, value in trained.items() if id(value) in slopes}
        if not used:
            raise UserError(
                "the model's outputs depend on no trainable parameter, so training has nothing to replay"
            )
        return used

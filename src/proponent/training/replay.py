"""Replay of one training, step by step, with the derivatives of its steps: the input of exact unrolling.

A run is a pure function of the weights of its examples: initial parameters, order of the batches, dropout masks and
learning rates follow from its seeds and the recipe alone, as in the lockstep trainer. So any state can be computed again,
and only every sqrt(T)-th of T states is kept (Griewank 1992): the walk back from the end computes one stretch of states
at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from numpy.random import BitGenerator
from torch import Tensor, nn

from proponent.config.recipe_schema import Optimizer, RecipeConfig
from proponent.memory_budget import MIB, MemoryBudget
from proponent.settings.batch_augmentation import Augment
from proponent.settings.split import Arrays
from proponent.settings.tasks import Task
from proponent.training.designs import Run
from proponent.training.flat_model import Batch, FlatModel
from proponent.training.group import dropout_generator
from proponent.training.recipe import learning_rates
from proponent.training.stages import epoch_order, place, stages_of
from proponent.training.update import derivatives, directions, n_slots, preconditioner, update

ALL = slice(None)


@dataclass(frozen=True, eq=False)
class ReplayPoint:
    """Training after some number of steps; see :class:`proponent.methods.shared.needs.ReplayPoint`."""

    replay: Replay
    steps: int
    slots: Tensor

    def query_gradients(self, queries: slice = ALL) -> Tensor:
        """Return the gradients of the targets of all or some queries, (n_query, p)."""
        x, y = self.replay.data.x_query[queries], self.replay.data.y_query[queries]
        return self.replay.model.gradients(self.slots[0], x, y, self.replay.task.target, whole=True)

    def loss_gradients(self, examples: Tensor) -> Tensor:
        """Return the gradients of training examples' losses without dropout, (len(examples), p)."""
        x, y = self.replay.data.x_train[examples], self.replay.data.y_train[examples]
        return self.replay.model.gradients(self.slots[0], x, y, self.replay.task.precise_loss)

    def preconditioner(self) -> Tensor:
        """Return the factors (p,) with which the optimiser multiplies gradients at this point."""
        return preconditioner(self.replay.recipe, self.slots, self.steps)

    def directions(self, examples: Tensor) -> Tensor:
        """Return the directions against which each example alone would move the parameters next, (len(examples), p)."""
        return directions(self.replay.recipe, self.slots, self.loss_gradients(examples), self.steps)


@dataclass(frozen=True, eq=False)
class ReplayStep(ReplayPoint):
    """One optimiser step, and the state before it; see :class:`proponent.methods.shared.needs.ReplayStep`."""

    examples: Tensor
    batch: Batch

    @cached_property
    def _derivatives(self) -> tuple[Tensor, Tensor]:
        gradient, _ = self.replay.model.gradient(self.slots[0], self.batch)
        recipe, lr = self.replay.recipe, self.replay.rates[self.steps]
        return derivatives(recipe, self.slots, gradient, lr, self.steps)

    @property
    def transition(self) -> Tensor:
        """Derivatives of the slots after the step with respect to the slots before it, (n_slots, n_slots, p or 1)."""
        return self._derivatives[0]

    @property
    def gain(self) -> Tensor:
        """Derivatives of the slots after the step with respect to the gradient of the batch's loss, (n_slots, p or 1)."""
        return self._derivatives[1]

    def gradients(self) -> Tensor:
        """Return the gradients of the losses of the batch's examples, (b, p)."""
        return self.replay.model.jacobian(self.slots[0], self.batch, self.replay.task.loss)

    def gradient_and_hessian_products(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return products of the batch's gradients and Hessian with each row of ``vectors`` (k, p).

        Returns:
            Inner products (k, b) with the examples' gradients, and products (k, p) with the Hessian of the mean loss.
        """
        return self.replay.model.products(self.slots[0], self.batch, vectors)


class Replay:
    """One run that can be walked through from its end; see :class:`proponent.methods.shared.needs.Replay`.

    Args:
        build: model factory, from the seed of an initialisation to a new model.
        task: task that gives loss and target.
        recipe: recipe of the training.
        run: seeds of the training; all examples are kept.
        data: training examples and queries, on the device to work on.
        member: index of the run in the ensemble.
        memory_mib: memory of the states that are kept and of methods together, in MiB.
        augment: augmentation of the training's batches; None for none.

    Raises:
        UserError: the states do not fit, the model mixes the examples of a batch, or its outputs depend on no trainable
            parameter.
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
        *,
        augment: Augment | None = None,
    ) -> None:
        self._augment = augment
        self.task, self.recipe, self.run, self.data, self.member = task, recipe, run, data, member
        self.n_train, self.n_query = len(data.x_train), len(data.x_query)
        self._stages = stages_of(recipe, run, self.n_train)
        self.rates: list[float] = learning_rates(recipe, self._stages).tolist()
        self.n_steps = len(self.rates)
        self.n_slots = n_slots(recipe)
        self.decay_is_decoupled = recipe.optimizer is Optimizer.adamw
        module = build(run.init_seed).to(data.x_train.device)
        self.model = FlatModel(module, task, data.x_train[: recipe.largest_batch])
        start = self.model.initial
        self._start = torch.cat([start[None], start.new_zeros(self.n_slots - 1, len(start))])
        self.n_parameters = len(start)
        self.pass_mib = self.model.pass_mib(max(self.n_query, recipe.largest_batch))
        self.batch_size, self.itemsize = recipe.largest_batch, start.element_size()
        self._stretch = math.isqrt(self.n_steps - 1) + 1
        # Every sqrt(T)-th state, and all states of one stretch.
        states = 2 * self._stretch * self._start.numel() * self.itemsize / MIB
        budget = MemoryBudget(memory_mib)
        budget.require(states, f"a replay of {self.n_steps} steps with {self.n_parameters} parameters")
        self.budget = budget.holding(states)

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

    def backward(self) -> Iterator[ReplayStep]:
        """Yield all steps, the last first."""
        for stretch in reversed(range(len(self._kept[0]))):
            yield from reversed(list(self._steps(stretch, self.n_steps)))

    def parameters(self, point: ReplayPoint) -> dict[str, Tensor]:
        """Return the parameters at a point by name, without those that no output depends on."""
        return self.model.named(point.slots[0])

    @cached_property
    def _kept(self) -> tuple[list[tuple[Tensor, Mapping[str, Any]]], Tensor]:
        """States of parameters and dropout generator at the start of every stretch, and the final parameters."""
        slots, generator = self._start, dropout_generator(self.run)
        kept: list[tuple[Tensor, Mapping[str, Any]]] = []
        for index in range(self.n_steps):
            if index % self._stretch == 0:
                kept.append((slots, generator.state))
            slots = self._after(index, slots, self._batch(index, generator)[1])
        return kept, slots

    def _steps(self, stretch: int, stop: int) -> Iterator[ReplayStep]:
        """Yield the steps of a stretch before step ``stop``, in order."""
        slots, state = self._kept[0][stretch]
        generator = dropout_generator(self.run)
        generator.state = state
        first = stretch * self._stretch
        for index in range(first, min(first + self._stretch, stop)):
            examples, batch = self._batch(index, generator)
            yield ReplayStep(self, index, slots, examples, batch)
            if index + 1 < min(first + self._stretch, stop):
                slots = self._after(index, slots, batch)

    def _after(self, index: int, slots: Tensor, batch: Batch) -> Tensor:
        """Return the slots after step ``index``."""
        gradient, _ = self.model.gradient(slots[0], batch)
        return update(self.recipe, slots, gradient, self.rates[index], index)

    def _batch(self, index: int, generator: BitGenerator) -> tuple[Tensor, Batch]:
        """Return the indices of the examples of step ``index``, and their batch."""
        stage, epoch, batch = place(self._stages, index)
        examples = epoch_order(self.run, stage, epoch)[stage.batch(batch)].to(self.data.x_train.device)
        x = self.data.x_train[examples]
        if self._augment is not None:
            x = self._augment(x, self.run.order_seed, index)
        return examples, self.model.batch(x, self.data.y_train[examples], generator)

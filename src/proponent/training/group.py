"""A group of models that are trained together, one optimiser step of all of them at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import torch
from torch import Generator, Tensor, nn

from proponent.batch_statistics import running_statistics
from proponent.config.schema import Precision, RecipeConfig
from proponent.errors import UserError
from proponent.rows import Rows, join_rows, rows_equal
from proponent.seeds import derive_seed
from proponent.settings.batch_augmentation import Augment
from proponent.settings.model_diagnosis import CHANGES_INPUT
from proponent.settings.parameter_references import refuse_hidden_references
from proponent.settings.tasks import Task
from proponent.torch_failures import explained, layer_name
from proponent.training.designs import Run
from proponent.training.dropout import Draw, draw_masks, recorded_draws
from proponent.training.mixed_precision import train_in_bfloat16
from proponent.training.recipe import StackedOptimizer
from proponent.training.stack import (
    CHANGES_STATE,
    call_in_training,
    refuse_hidden_state,
    same,
    separate_moving,
    stack_models,
    versions,
)
from proponent.training.stacked_pass import Batches, StackedPass
from proponent.training.stages import epoch_order, place, stages_of


def dropout_generator(run: Run) -> Generator:
    """Return the generator that draws all dropout masks of a run, batch after batch."""
    return Generator().manual_seed(derive_seed(run.order_seed, "dropout"))


class Group:
    """Models that are trained together, those with most steps first, so that the unfinished ones are always the first.

    Args:
        build: model factory, from a seed to a new model.
        x: (n, …) training inputs.
        y: (n, …) training labels.
        task: task that gives the loss.
        recipe: optimiser and batch size.
        runs: seeds and masks, those with most steps first.
        rates: (steps,) learning rates of each run.
        points: number of points of a loss curve.
        device: device to train on.
        augment: augmentation of the batches; None for none.
    """

    def __init__(
        self,
        build: Callable[[int], nn.Module],
        x: Rows,
        y: Tensor,
        task: Task,
        recipe: RecipeConfig,
        runs: Sequence[Run],
        rates: Sequence[Tensor],
        points: int,
        device: str,
        augment: Augment | None,
    ) -> None:
        self.stack = stack_models(build, [run.init_seed for run in runs], device)
        self.stack.template.train()
        some = x[:2].to(device)
        with explained(self.stack.template, "cannot be trained"), recorded_draws():
            with running_statistics():  # so that one example is a batch
                refuse_hidden_references(self.stack.template, some[:1])
            separate_moving(self.stack, some)
            if len(runs) > 1:
                refuse_hidden_state(self.stack, build(runs[-1].init_seed).to(device), some)
        if recipe.precision is Precision.bf16:
            train_in_bfloat16(self.stack.template)
        self.n_steps = max(len(rate) for rate in rates)
        self._pass = StackedPass(self.stack, task)
        self._augment = augment
        self._x, self._y, self._runs = x, y, runs
        self._rates = [rate.tolist() for rate in rates]
        self._stages = [stages_of(recipe, run, len(x)) for run in runs]
        longest = max(stage.drawn for stages in self._stages for stage in stages)
        self._orders = torch.zeros((len(runs), longest), dtype=torch.int64, device=device)
        self._weights = None
        if any(run.by_weight for run in runs):
            full = torch.ones(len(x), dtype=torch.bool)
            kept = [run.mask if run.by_weight and run.mask is not None else full for run in runs]
            self._weights = torch.stack(kept).to(device, next(iter(self.stack.trained.values())).dtype)
        self._draws: dict[int, list[Draw]] = {}
        self._generators = [dropout_generator(run) for run in runs]
        self._optimizer: StackedOptimizer | None = None
        self._recipe = recipe
        self._loss_sum = torch.zeros((len(runs), points), dtype=torch.float64, device=device)
        self._loss_count = torch.zeros_like(self._loss_sum)

    @property
    def loss(self) -> Tensor:
        """Return the mean loss of every model up to each point of its curve, (models, points)."""
        return self._loss_sum / self._loss_count

    def step(self, step: int) -> None:
        """Make optimiser step ``step``, counted from 0, of every model that is not finished."""
        busy = sum(len(rates) > step for rates in self._rates)
        starts, sizes = [], []
        for model in range(busy):
            stage, epoch, batch = place(self._stages[model], step)
            if batch == 0:
                order = epoch_order(self._runs[model], stage, epoch)
                self._orders[model, : len(order)] = order
            rows_of_batch = stage.batch(batch)
            starts.append(rows_of_batch.start)
            sizes.append(rows_of_batch.stop - rows_of_batch.start)
        for rows in _equal_neighbours(sizes):
            batches = self._batches(step, rows, starts[rows], sizes[rows.start])
            # Rounding in bfloat16 is larger than the errors that the comparison finds; the check compares in float32.
            compare = step == 0 and self._recipe.precision is not Precision.bf16
            losses, gradients = self._pass.gradients(rows, batches, compare=compare)
            self._update(step, rows, gradients)
            bins = [
                step * self._loss_sum.shape[1] // len(self._rates[model])
                for model in range(rows.start, rows.stop)
            ]
            where = (
                torch.arange(rows.start, rows.stop, device=losses.device),
                torch.tensor(bins, device=losses.device),
            )
            self._loss_sum.index_put_(where, losses.double(), accumulate=True)
            self._loss_count.index_put_(where, torch.ones_like(losses, dtype=torch.float64), accumulate=True)

    def _batches(self, step: int, rows: slice, starts: list[int], size: int) -> Batches:
        """Return the next batches of models whose batches have one size.

        Args:
            step: number of optimiser steps that the models have made before.
            rows: range of the models.
            starts: position of each model's batch in the order of its epoch.
            size: examples per batch.
        """
        positions = (torch.tensor(starts)[:, None] + torch.arange(size)).to(self._orders.device)
        index = self._orders[rows].gather(1, positions)
        chosen = index.flatten().to(self._y.device)  # that of the data, which may not fit on the device
        x = self._x.index_select(0, chosen).to(index.device).unflatten(0, index.shape)
        y = self._y.index_select(0, chosen).to(index.device).unflatten(0, index.shape)
        if self._augment is not None:
            runs = self._runs[rows]
            changed = [self._augment(x[row], run.order_seed, step) for row, run in enumerate(runs)]
            x = join_rows(changed).unflatten(0, index.shape)
        weights = self._weights[rows].gather(1, index) if self._weights is not None else None
        with explained(self.stack.template, f"cannot be trained on a batch of {size} examples"):
            draws = self._dropped(size, x[0])
        masks = draw_masks(draws, self._generators[rows])
        return Batches(x, y, weights, [mask.to(y.device) for mask in masks])

    def _dropped(self, size: int, x: Rows) -> list[Draw]:
        """Return the dropout masks that a model needs for a batch of this size; most models need none."""
        if size not in self._draws:
            before = versions(self.stack)
            stack, given = self.stack, x.clone()
            first = {name: value[0].clone() for name, value in (stack.trained | stack.fixed).items()}
            kept = {name: value.clone() for name, value in first.items()}
            moving = {name: value[0] for name, value in stack.moving.items()}
            with torch.no_grad(), recorded_draws() as draws:
                call_in_training(stack.template, first, moving, given)
            if not rows_equal(given, x):
                raise UserError(f"{layer_name(self.stack.template, '')} {CHANGES_INPUT}")
            for name, version in versions(self.stack).items():
                # changes through .data leave the version as it is
                if version != before.get(name) or (name in kept and not same(first[name], kept[name])):
                    raise UserError(f"the model's forward pass {CHANGES_STATE.format(name)}")
            self._draws[size] = draws
        return self._draws[size]

    def _update(self, step: int, rows: slice, gradients: dict[str, Tensor]) -> None:
        if self._optimizer is None:
            self._lay_out_like(gradients)
            self._optimizer = StackedOptimizer(self._recipe, self.stack.trained)
        rates = [self._rates[model][step] for model in range(rows.start, rows.stop)]
        for part in _equal_neighbours(rates):
            own = {name: gradient[part] for name, gradient in gradients.items()}
            where = slice(rows.start + part.start, rows.start + part.stop)
            self._optimizer.step(own, where, rates[part.start], step)

    def _lay_out_like(self, gradients: dict[str, Tensor]) -> None:
        """Give parameters the memory order of their gradients, so that an update copies nothing.

        Autograd makes the gradient of a stack of weights (models, out, in) in the order (models, in, out).
        """
        for name, gradient in gradients.items():
            value = self.stack.trained[name]
            self.stack.trained[name] = torch.empty_strided(
                value.shape, _strides(value.shape, gradient), dtype=value.dtype, device=value.device
            ).copy_(value)


def _equal_neighbours(values: Sequence[float]) -> Iterator[slice]:
    """Yield the ranges of equal neighbouring values."""
    start = 0
    for _, stretch in groupby(values):
        stop = start + len(list(stretch))
        yield slice(start, stop)
        start = stop


def _strides(shape: torch.Size, like: Tensor) -> tuple[int, ...]:
    """Return dense strides that order the axes of ``shape`` as ``like`` does, the first axis outermost."""
    axes = sorted(range(1, len(shape)), key=like.stride, reverse=True)
    strides, size = [0] * len(shape), 1
    for axis in reversed([0, *axes]):
        strides[axis] = size
        size *= shape[axis]
    return tuple(strides)

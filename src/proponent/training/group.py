"""A group of models that are trained together, one optimiser step of all of them at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

import torch
from numpy.random import PCG64, BitGenerator
from torch import Tensor

from proponent.config.recipe_schema import RecipeConfig
from proponent.rows import Rows, join_rows
from proponent.seeds import derive_seed
from proponent.settings.batch_augmentation import Augment
from proponent.training.designs import Run
from proponent.training.dropout import draw_masks
from proponent.training.dropout_needs import DropoutNeeds
from proponent.training.gradient_products import Gradient, of_models
from proponent.training.memory_order import order_like
from proponent.training.recipe import StackedOptimizer
from proponent.training.stack import Stack
from proponent.training.stacked_pass import Batches, ModelPass
from proponent.training.stages import epoch_order, place, stages_of


def dropout_generator(run: Run) -> BitGenerator:
    """Return the generator that draws all dropout masks of a run, batch after batch."""
    return PCG64(derive_seed(run.order_seed, "dropout"))


class Group:
    """Models that are trained together, those with most steps first, so that the unfinished ones are always the first.

    Args:
        stack: models with their initial tensors; parameters are copied, and moving buffers are updated in place.
        engine: pass that computes losses and gradients.
        dropout: dropout masks that the model needs.
        x: (n, …) training inputs.
        y: (n, …) training labels.
        recipe: optimiser and batch size.
        runs: seeds and masks, those with most steps first.
        rates: (steps,) learning rates of each run.
        augment: augmentation of the batches; None for none.
    """

    def __init__(
        self,
        stack: Stack,
        engine: ModelPass,
        dropout: DropoutNeeds,
        x: Rows,
        y: Tensor,
        recipe: RecipeConfig,
        runs: Sequence[Run],
        rates: Sequence[Tensor],
        augment: Augment | None,
    ) -> None:
        self.stack = replace(stack, trained={name: value.clone() for name, value in stack.trained.items()})
        self.n_steps = max(len(rate) for rate in rates)
        self._pass, self._dropout, self._augment = engine, dropout, augment
        self._x, self._y, self._runs = x, y, runs
        self._rates = [rate.tolist() for rate in rates]
        self._stages = [stages_of(recipe, run, len(x)) for run in runs]
        first = next(iter(stack.trained.values()))
        longest = max(stage.drawn for stages in self._stages for stage in stages)
        self._orders = torch.zeros((len(runs), longest), dtype=torch.int64, device=first.device)
        self._weights = None
        if any(run.by_weight for run in runs):
            full = torch.ones(len(x), dtype=torch.bool)
            kept = [run.mask if run.by_weight and run.mask is not None else full for run in runs]
            self._weights = torch.stack(kept).to(first.device, first.dtype)
        self._generators = [dropout_generator(run) for run in runs]
        self._optimizer: StackedOptimizer | None = None
        self._recipe = recipe
        self._losses = torch.zeros((len(runs), self.n_steps), dtype=first.dtype, device=first.device)

    def loss(self, points: int) -> Tensor:
        """Return the mean loss of every model up to each point of its curve, (models, points) float64."""
        curves = torch.zeros((len(self._rates), points), dtype=torch.float64)
        for curve, losses, rates in zip(curves, self._losses.double().cpu(), self._rates, strict=True):
            point = torch.arange(len(rates)) * points // len(rates)
            curve.index_add_(0, point, losses[: len(rates)]).div_(point.bincount(minlength=points))
        return curves

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
            losses, gradients = self._pass.gradients(self.stack, rows, batches)
            self._update(step, rows, gradients)
            self._losses[rows, step] = losses

    def _batches(self, step: int, rows: slice, starts: list[int], size: int) -> Batches:
        """Return the next batches of models whose batches have one size.

        Args:
            step: number of optimiser steps that the models have made before.
            rows: range of the models.
            starts: position of each model's batch in the order of its epoch.
            size: examples per batch.
        """
        if min(starts) == max(starts):
            index = of_models(self._orders, rows)[:, starts[0] : starts[0] + size]
        else:
            positions = (torch.tensor(starts)[:, None] + torch.arange(size)).to(self._orders.device)
            index = of_models(self._orders, rows).gather(1, positions)
        chosen = index.flatten().to(self._y.device)  # that of the data, which may not fit on the device
        x = self._x.index_select(0, chosen).to(index.device).unflatten(0, index.shape)
        y = self._y.index_select(0, chosen).to(index.device).unflatten(0, index.shape)
        if self._augment is not None:
            runs = self._runs[rows]
            changed = [self._augment(x[row], run.order_seed, step) for row, run in enumerate(runs)]
            x = join_rows(changed).unflatten(0, index.shape)
        weights = of_models(self._weights, rows).gather(1, index) if self._weights is not None else None
        masks = draw_masks(self._dropout.of(size, x[0]), self._generators[rows])
        return Batches(x, y, weights, [mask.to(y.device) for mask in masks])

    def _update(self, step: int, rows: slice, gradients: Mapping[str, Gradient]) -> None:
        if self._optimizer is None:
            if not self._pass.leaves_products(self.stack):
                order_like(self.stack, gradients)
            self._optimizer = StackedOptimizer(self._recipe, self.stack.trained)
        rates = [self._rates[model][step] for model in range(rows.start, rows.stop)]
        for part in _equal_neighbours(rates):
            own = {name: of_models(gradient, part) for name, gradient in gradients.items()}
            where = slice(rows.start + part.start, rows.start + part.stop)
            self._optimizer.step(own, where, rates[part.start], step)


def _equal_neighbours(values: Sequence[float]) -> Iterator[slice]:
    """Yield the ranges of equal neighbouring values."""
    start = 0
    for _, stretch in groupby(values):
        stop = start + len(list(stretch))
        yield slice(start, stop)
        start = stop

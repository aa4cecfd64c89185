"""Stages of a run: the examples that its epochs draw, and their learning rate.

A recipe without ``stages`` is one stage of all examples. Otherwise the training set is cut in order, and each stage trains
on its own part only; the state of the optimiser is kept between stages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from proponent.config.recipe_schema import LastBatch, RecipeConfig
from proponent.errors import UserError
from proponent.seeds import derive_seed
from proponent.training.designs import Run


@dataclass(frozen=True)
class Stage:
    """Consecutive epochs of a run that draw from the same examples.

    Attributes:
        examples: range of the training set, before the run's mask.
        drawn: number of examples in the order of an epoch.
        used: number of them that are in a batch, the first ones of the order.
        batches: optimiser steps per epoch.
        batch_size: examples per batch; the last one may be smaller or larger (``recipe.last_batch``).
        lr: learning rate, before any schedule.
        start: number of optimiser steps before the stage.
        steps: number of optimiser steps of the stage.
        first_epoch: number of epochs of the recipe before the stage.
    """

    examples: slice
    drawn: int
    used: int
    batches: int
    batch_size: int
    lr: float
    start: int
    steps: int
    first_epoch: int

    @property
    def stop(self) -> int:
        """Number of optimiser steps that are done at the end of the stage."""
        return self.start + self.steps

    def batch(self, index: int) -> slice:
        """Return the positions of a batch in the order of its epoch."""
        start = index * self.batch_size
        return slice(start, self.used if index == self.batches - 1 else start + self.batch_size)


def stages_of(recipe: RecipeConfig, run: Run, n: int) -> list[Stage]:
    """Return the stages of a run that have steps, in order.

    A stage of which the mask keeps no example has no steps, unless examples are dropped by weight: then they stay in
    their batches, and all models make the same steps.

    Args:
        recipe: recipe with stages whose examples add up to ``n``, or with a single length.
        run: run with a mask.
        n: number of training examples.

    Raises:
        UserError: the run has no example to train on.
        ValueError: the stages' examples do not add up to ``n``.
    """
    if run.mask is not None and int(run.mask.sum()) == 0:
        raise UserError("a retraining keeps no example at all; raise the design's fraction")
    wanted: list[tuple[int, int | None, float]] = [(n, recipe.epochs, recipe.lr)]
    if recipe.stages:
        wanted = [(stage.examples, stage.epochs, stage.lr or recipe.lr) for stage in recipe.stages]
    found: list[Stage] = []
    first, start, first_epoch = 0, 0, 0
    for size, epochs, lr in wanted:
        examples = slice(first, first + size)
        drawn = size if run.mask is None or run.by_weight else int(run.mask[examples].sum())
        batches = math.ceil(drawn / recipe.batch_size)
        if recipe.last_batch is not LastBatch.keep and drawn > recipe.batch_size:
            batches = drawn // recipe.batch_size
        used = min(drawn, batches * recipe.batch_size) if recipe.last_batch is LastBatch.drop else drawn
        steps = recipe.steps if epochs is None else epochs * batches
        assert steps is not None  # noqa: S101 - RecipeConfig has exactly one of epochs, steps and stages
        if steps:
            found.append(
                Stage(examples, drawn, used, batches, recipe.batch_size, lr, start, steps, first_epoch)
            )
        first, start, first_epoch = first + size, start + steps, first_epoch + (epochs or 0)
    if first != n:
        raise ValueError(f"stages of {first} examples for a training set of {n}")
    return found


def place(stages: Sequence[Stage], step: int) -> tuple[Stage, int, int]:
    """Return the stage of an optimiser step, its epoch and its batch in the epoch, all counted from 0."""
    stage = next(stage for stage in stages if step < stage.stop)
    epoch, batch = divmod(step - stage.start, stage.batches)
    return stage, stage.first_epoch + epoch, batch


def epoch_order(run: Run, stage: Stage, epoch: int) -> Tensor:
    """Return the indices of the examples of one epoch of a run, in the order in which batches use them."""
    generator = Generator().manual_seed(derive_seed(run.order_seed, "epoch", epoch))
    order = torch.randperm(stage.drawn, generator=generator)
    if run.mask is not None and not run.by_weight:
        order = run.mask[stage.examples].nonzero().flatten()[order]
    return order + stage.examples.start

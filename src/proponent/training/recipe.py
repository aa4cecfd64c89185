"""Learning rates and parameter updates of a recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from proponent.config.recipe_schema import Optimizer, RecipeConfig, Schedule
from proponent.training.gradient_products import Gradient, Product, computed, of_models
from proponent.training.stages import Stage


def learning_rates(recipe: RecipeConfig, stages: Sequence[Stage]) -> Tensor:
    """Return the learning rate of every optimiser step of a run with these stages, (steps,) float64.

    During ``warmup_steps``, or the steps of ``warmup_epochs``, the rate rises linearly to ``lr``. Then ``linear`` and
    ``cosine`` fall to 0, which they reach one step after the last, and ``step`` multiplies by ``gamma`` after every
    ``step_size`` epochs.
    """
    total = stages[-1].stop
    rising = recipe.warmup_steps or round(recipe.warmup_epochs * stages[0].batches)
    step = torch.arange(total, dtype=torch.float64)
    done = ((step - rising) / max(1, total - rising)).clamp(min=0)
    if recipe.schedule is Schedule.linear:
        factor = 1 - done
    elif recipe.schedule is Schedule.cosine:
        factor = (1 + torch.cos(math.pi * done)) / 2
    elif recipe.schedule is Schedule.step:
        factor = recipe.gamma ** (step / (recipe.step_size * stages[0].batches)).floor()
    else:
        factor = torch.ones_like(step)
    warmup = ((step + 1) / rising).clamp(max=1) if rising else torch.ones_like(step)
    lr = torch.cat([torch.full((stage.steps,), stage.lr, dtype=torch.float64) for stage in stages])
    return lr * factor * warmup


class StackedOptimizer:
    """torch.optim's SGD, Adam or AdamW on stacked parameters, which they update element by element.

    Args:
        recipe: optimiser and its constants.
        parameters: stacked parameters, (models, …) each and dense, in any memory order; they are updated in place.
    """

    def __init__(self, recipe: RecipeConfig, parameters: dict[str, Tensor]) -> None:
        self._recipe = recipe
        # torch's fused kernels need contiguous tensors, so axes are put in the order that they have in memory.
        self._axes = {
            name: sorted(range(value.ndim), key=value.stride, reverse=True)
            for name, value in parameters.items()
        }
        self._values = {name: value.permute(self._axes[name]) for name, value in parameters.items()}
        n_moments = 2 if recipe.optimizer is not Optimizer.sgd else int(recipe.momentum > 0)
        self._moments = [
            {name: torch.zeros_like(value) for name, value in self._values.items()} for _ in range(n_moments)
        ]
        # SGD with momentum adds gradients to the moments and nothing else: products of matrices can do that at once. No
        # gradient of a weight is then written to memory and read again.
        self._accumulates = (
            recipe.optimizer is Optimizer.sgd
            and recipe.momentum > 0
            and not recipe.nesterov
            and not recipe.weight_decay
        )
        if self._accumulates:
            self._first_moments = {
                name: value.permute([axes.index(axis) for axis in range(value.ndim)])
                for (name, value), axes in zip(self._moments[0].items(), self._axes.values(), strict=True)
            }
        self._asked: tuple[list[str], int, int] | None = None
        self._fused = all(value.device.type in ("cpu", "cuda") for value in parameters.values())

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Gradient], rows: slice, lr: float, step: int) -> None:
        """Update some models.

        Args:
            gradients: gradients of the models in ``rows``, (len(rows), …), by parameter; others are not updated.
            rows: range of the models.
            lr: learning rate.
            step: number of optimiser steps that these models have made before.
        """
        recipe = self._recipe
        accumulated = []
        if self._accumulates:
            accumulated = [name for name, gradient in gradients.items() if isinstance(gradient, Product)]
        for name in accumulated:  # before any update, since factors may be views of parameters
            product: Any = gradients[name]
            product.add_to(of_models(self._first_moments[name], rows), recipe.momentum)
        for name in accumulated:
            of_models(self._values[name], rows).add_(of_models(self._moments[0][name], rows), alpha=-lr)
        rest = [name for name in gradients if name not in accumulated]
        values, moments = self._state_of(rest, rows)
        slopes = [self._in_memory_order(name, computed(gradients[name])) for name in rest]
        if recipe.optimizer is Optimizer.sgd:
            sgd(
                values,
                slopes,
                list(moments[0]) if moments else [None] * len(values),
                foreach=False,
                fused=self._fused,
                weight_decay=recipe.weight_decay,
                momentum=recipe.momentum,
                lr=lr,
                dampening=0.0,
                nesterov=recipe.nesterov,
                maximize=False,
            )
            return
        first, second = moments
        adam(
            values,
            slopes,
            first,
            second,
            max_exp_avg_sqs=[],
            state_steps=[torch.tensor(float(step), device=value.device) for value in values],
            foreach=False,
            fused=self._fused,
            decoupled_weight_decay=recipe.optimizer is Optimizer.adamw,
            amsgrad=False,
            beta1=recipe.betas[0],
            beta2=recipe.betas[1],
            lr=lr,
            weight_decay=recipe.weight_decay,
            eps=recipe.eps,
            maximize=False,
        )

    def _state_of(self, names: list[str], rows: slice) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Return values and moments of some models; those of the step before are usually asked for again."""
        asked = (names, rows.start, rows.stop)
        if self._asked != asked:
            values, *moments = (
                [of_models(tensors[name], rows) for name in names]
                for tensors in (self._values, *self._moments)
            )
            self._asked, self._found = asked, (values, moments)
        return self._found

    def _in_memory_order(self, name: str, gradient: Tensor) -> Tensor:
        """Return a gradient with its axes in the order of the memory of its parameter, and contiguous."""
        axes = self._axes[name]
        return (gradient if axes == sorted(axes) else gradient.permute(axes)).contiguous()

"""Training of many models at a time: stacked parameters, with one batched forward and backward pass for all of them.

Each model has its own seeds, subset and order of examples, and ends as if trained alone: the loss of a stack is the sum
of its models' losses, whose gradient with respect to a model's parameters is that model's own, and optimisers work
element by element. Models with fewer examples, hence fewer steps, finish earlier and then do not change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from proponent.chunking import chunks
from proponent.config.schema import RecipeConfig
from proponent.progress import progress
from proponent.rows import Rows
from proponent.settings.batch_augmentation import Augment
from proponent.settings.tasks import Task
from proponent.torch_compat import stackable
from proponent.training.designs import Run
from proponent.training.group import Group
from proponent.training.memory import fits_on_device
from proponent.training.recipe import learning_rates
from proponent.training.stack import Stack
from proponent.training.stages import stages_of

LOSS_POINTS = 64
"""Largest number of points of a loss curve; a shorter training has one point per step."""


@dataclass
class Trained:
    """Models in the order of their runs.

    Attributes:
        template: module with the architecture and the tensors that all models share.
        state: final tensors in which the models differ, (models, …) each.
        checkpoints: the same tensors by the number of optimiser steps after which they were kept.
        loss: (models, points) training loss, averaged over the batches since the point before.
        loss_steps: (models, points) number of optimiser steps at each point.
        learning_rates: (steps,) learning rates of each model.
        diverged: indices of the models whose loss or parameters are not finite.
    """

    template: nn.Module
    state: dict[str, Tensor]
    checkpoints: dict[int, dict[str, Tensor]]
    loss: Tensor
    loss_steps: Tensor
    learning_rates: list[Tensor]
    diverged: list[int]


def in_lockstep(recipe: RecipeConfig, runs: Sequence[Run], n: int, lockstep: int) -> list[list[int]]:
    """Return groups of runs to train together, as indices, those with most steps first.

    Runs of about the same number of steps are trained together, so that all of a group are busy nearly until its end.

    Args:
        recipe: recipe that gives the length of the runs.
        runs: seeds and masks.
        n: number of training examples.
        lockstep: models trained at a time.

    Raises:
        UserError: a run has no example to train on.
    """

    def work(index: int) -> tuple[int, int]:
        stages = stages_of(recipe, runs[index], n)
        return stages[-1].stop, sum(stage.drawn for stage in stages)

    order = sorted(range(len(runs)), key=work, reverse=True)
    return [order[chosen] for chosen in chunks(len(order), lockstep)]


def train(
    build: Callable[[int], nn.Module],
    x: Rows,
    y: Tensor,
    task: Task,
    recipe: RecipeConfig,
    runs: Sequence[Run],
    *,
    augment: Augment | None = None,
    checkpoints: Sequence[int] = (),
    lockstep: int = 25,
    device: str = "cpu",
) -> Trained:
    """Train one model per run.

    Args:
        build: model factory, from the seed of a run's initialisation to a new model.
        x: (n, …) training inputs.
        y: (n, …) training labels.
        task: task that gives the loss.
        recipe: optimiser, learning rates, batch size and length.
        runs: seeds and masks.
        augment: augmentation of the batches; None for none.
        checkpoints: numbers of optimiser steps after which parameters are kept, at most those of the shortest run.
        lockstep: models trained at a time.
        device: device to train on; data that take more than half of its memory are moved batch by batch.

    Raises:
        UserError: the model cannot be trained in lockstep, or a run has no example to train on.
    """
    if device != "cpu" and fits_on_device(x, y, torch.cuda.get_device_properties(device).total_memory):
        x, y = x.to(device), y.to(device)
    together = in_lockstep(recipe, runs, len(x), lockstep)
    rates = [learning_rates(recipe, stages_of(recipe, run, len(x))) for run in runs]
    shortest = min(len(rate) for rate in rates)
    if any(not 0 < step <= shortest for step in checkpoints):
        raise ValueError(f"checkpoints {list(checkpoints)} must lie between 1 and {shortest} steps")
    points = min(LOSS_POINTS, shortest)
    finished = _Finished(checkpoints)

    def steps() -> Iterator[tuple[Group, int]]:
        for chosen in together:
            own = [rates[index] for index in chosen]
            group = Group(
                build, x, y, task, recipe, [runs[index] for index in chosen], own, points, device, augment
            )
            for step in range(group.n_steps):
                yield group, step
            finished.add(group)

    total = sum(max(len(rates[index]) for index in chosen) for chosen in together)
    with stackable():
        for group, step in progress(steps(), f"training {len(runs)} models", total):
            group.step(step)
            finished.keep_checkpoint(group, step + 1)
    return finished.in_order([index for chosen in together for index in chosen], rates, points)


class _Finished:
    """Results of the groups that are trained, in the order of training.

    Args:
        checkpoints: numbers of optimiser steps after which parameters are kept.
    """

    def __init__(self, checkpoints: Sequence[int]) -> None:
        self._stacks: list[Stack] = []
        self._losses: list[Tensor] = []
        self._checkpoints: dict[int, list[dict[str, Tensor]]] = {step: [] for step in checkpoints}

    def keep_checkpoint(self, group: Group, steps: int) -> None:
        """Keep the parameters of a group after ``steps`` optimiser steps, if that is a checkpoint."""
        if steps in self._checkpoints:
            state = {name: value.clone() for name, value in group.stack.state.items()}
            self._checkpoints[steps].append(state)

    def add(self, group: Group) -> None:
        """Add a group at the end of its training."""
        self._stacks.append(group.stack)
        self._losses.append(group.loss)

    def in_order(self, order: Sequence[int], rates: list[Tensor], points: int) -> Trained:
        """Return the models in the order of their runs.

        Args:
            order: index of the run of each model, in the order of training.
            rates: learning rates of every run.
            points: number of points of a loss curve.
        """
        device = self._losses[0].device
        back = torch.empty(len(order), dtype=torch.int64, device=device)
        back[torch.tensor(order, device=device)] = torch.arange(len(order), device=device)

        def gather(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
            return {name: torch.cat([part[name] for part in parts])[back] for name in parts[0]}

        state = gather([stack.state for stack in self._stacks])
        loss = torch.cat(self._losses)[back].cpu()
        finite = loss.isfinite().all(1)
        for value in state.values():
            if value.is_floating_point():
                finite &= value.isfinite().reshape(len(value), -1).all(1).cpu()
        ends = torch.tensor(
            [[-(-len(rate) * (point + 1) // points) for point in range(points)] for rate in rates]
        )
        return Trained(
            template=self._stacks[0].template,
            state=state,
            checkpoints={step: gather(parts) for step, parts in self._checkpoints.items()},
            loss=loss,
            loss_steps=ends,
            learning_rates=rates,
            diverged=(~finite).nonzero().flatten().tolist(),
        )

"""Train many models at a time: stacked parameters, one batched forward and backward pass for all of them.

Each model has its own seeds, subset and order of examples, and comes out as if trained alone: the loss of a
stack is the sum of its models' losses, whose gradient by a model's parameters is that model's own, and
optimisers work element by element. Models with fewer examples, hence fewer steps, finish earlier and stay as
they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from proponent.config.schema import RecipeConfig
from proponent.progress import progress
from proponent.settings.tasks import Task
from proponent.torch_compat import stackable
from proponent.training.designs import Run
from proponent.training.group import Group
from proponent.training.recipe import learning_rates
from proponent.training.stack import Stack
from proponent.training.stages import stages_of

LOSS_POINTS = 64
"""Points of a loss curve, or fewer where training has fewer steps."""


@dataclass
class Trained:
    """Models in the order of their runs.

    Attributes:
        template: brings the architecture and whatever all models share.
        state: final tensors in which the models differ, (models, …) each.
        checkpoints: the same after some number of optimiser steps.
        loss: (models, points) training loss, averaged over the batches since the point before.
        loss_steps: (models, points) number of optimiser steps at each point.
        learning_rates: of every step, a tensor for each model.
        diverged: indices of models whose loss or parameters are not finite.
    """

    template: nn.Module
    state: dict[str, Tensor]
    checkpoints: dict[int, dict[str, Tensor]]
    loss: Tensor
    loss_steps: Tensor
    learning_rates: list[Tensor]
    diverged: list[int]


def in_lockstep(recipe: RecipeConfig, runs: Sequence[Run], n: int, lockstep: int) -> list[list[int]]:
    """Return which runs are trained together, as indices; those that make most steps come first.

    Runs that make about as many steps go together, so that all of a group are busy nearly until its end.

    Args:
        recipe: gives the length of the runs.
        runs: seeds and masks.
        n: number of training examples.
        lockstep: models trained at a time.

    Raises:
        UserError: a run has nothing to train on.
    """

    def work(index: int) -> tuple[int, int]:
        stages = stages_of(recipe, runs[index], n)
        return stages[-1].stop, sum(stage.drawn for stage in stages)

    order = sorted(range(len(runs)), key=work, reverse=True)
    return [order[start : start + lockstep] for start in range(0, len(order), lockstep)]


def train(
    build: Callable[[int], nn.Module],
    x: Tensor,
    y: Tensor,
    task: Task,
    recipe: RecipeConfig,
    runs: Sequence[Run],
    *,
    checkpoints: Sequence[int] = (),
    lockstep: int = 25,
    device: str = "cpu",
) -> Trained:
    """Train one model a run.

    Args:
        build: from the seed of a run's initialisation to a new model.
        x: (n, …) training inputs.
        y: (n, …) training labels.
        task: gives the loss.
        recipe: optimiser, learning rates, batch size and length.
        runs: seeds and masks.
        checkpoints: numbers of optimiser steps after which to keep the parameters; no run may be shorter.
        lockstep: models trained at a time.
        device: where to train.

    Raises:
        UserError: the model cannot be trained in lockstep, or a run has nothing to train on.
    """
    x, y = x.to(device), y.to(device)
    chunks = in_lockstep(recipe, runs, len(x), lockstep)
    order = [index for chunk in chunks for index in chunk]
    rates = [learning_rates(recipe, stages_of(recipe, run, len(x))) for run in runs]
    shortest = min(len(rate) for rate in rates)
    if any(not 0 < step <= shortest for step in checkpoints):
        raise ValueError(f"checkpoints {list(checkpoints)} must lie between 1 and {shortest} steps")
    points = min(LOSS_POINTS, shortest)
    finished: list[Stack] = []
    losses: list[Tensor] = []

    def steps() -> Iterator[tuple[Group, int]]:
        for chunk in chunks:
            chosen = [runs[index] for index in chunk]
            group = Group(
                build, x, y, task, recipe, chosen, [rates[index] for index in chunk], points, device
            )
            for step in range(group.n_steps):
                yield group, step
            finished.append(group.stack)
            losses.append(group.loss)

    total = sum(max(len(rates[index]) for index in chunk) for chunk in chunks)
    kept: dict[int, list[dict[str, Tensor]]] = {step: [] for step in checkpoints}
    with stackable():
        for group, step in progress(steps(), f"training {len(runs)} models", total):
            group.step(step)
            if step + 1 in kept:
                kept[step + 1].append({name: value.clone() for name, value in group.stack.state.items()})
    back = torch.empty(len(order), dtype=torch.int64, device=device)
    back[torch.tensor(order, device=device)] = torch.arange(len(order), device=device)

    def gather(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        return {name: torch.cat([part[name] for part in parts])[back] for name in parts[0]}

    state = gather([stack.state for stack in finished])
    loss = torch.cat(losses)[back].cpu()
    finite = loss.isfinite().all(1)
    for value in state.values():
        if value.is_floating_point():
            finite &= value.isfinite().flatten(1).all(1).cpu()
    ends = torch.tensor(
        [[-(-len(rate) * (point + 1) // points) for point in range(points)] for rate in rates]
    )
    return Trained(
        template=finished[0].template,
        state=state,
        checkpoints={step: gather(parts) for step, parts in kept.items()},
        loss=loss,
        loss_steps=ends,
        learning_rates=rates,
        diverged=(~finite).nonzero().flatten().tolist(),
    )

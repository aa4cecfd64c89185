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

from proponent.batch_statistics import running_statistics
from proponent.chunking import chunks
from proponent.config.recipe_schema import Precision, RecipeConfig
from proponent.progress import progress
from proponent.rows import Rows
from proponent.settings.batch_augmentation import Augment
from proponent.settings.model_preparation import prepare_model
from proponent.settings.parameter_references import refuse_hidden_references
from proponent.settings.tasks import Task
from proponent.torch_compat import layered, stackable
from proponent.torch_failures import explained
from proponent.training.designs import Run
from proponent.training.dropout import recorded_draws
from proponent.training.dropout_needs import DropoutNeeds
from proponent.training.group import Group
from proponent.training.looped_pass import LoopedPass
from proponent.training.memory import fits_on_device
from proponent.training.memory_order import order_filters
from proponent.training.mixed_precision import train_in_bfloat16
from proponent.training.pass_choice import pass_choice
from proponent.training.recipe import learning_rates
from proponent.training.stack import Stack, refuse_hidden_state, separate_moving, stack_models
from proponent.training.stages import stages_of
from proponent.training.traced_pass import TracedPass

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
        stacked: whether models shared one batched pass; otherwise each was trained alone.
        together: largest number of models that were trained at the same time.
    """

    template: nn.Module
    state: dict[str, Tensor]
    checkpoints: dict[int, dict[str, Tensor]]
    loss: Tensor
    loss_steps: Tensor
    learning_rates: list[Tensor]
    diverged: list[int]
    stacked: bool
    together: int


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
        lockstep: largest number of models trained at a time; see :func:`proponent.training.pass_choice.pass_choice`.
        device: device to train on; data that take more than half of its memory are moved batch by batch.

    Raises:
        UserError: the model cannot be trained in lockstep, or a run has no example to train on.
    """
    if device != "cpu" and fits_on_device(x, y, torch.cuda.get_device_properties(device).total_memory):
        x, y = x.to(device), y.to(device)
    rates = [learning_rates(recipe, stages_of(recipe, run, len(x))) for run in runs]
    shortest = min(len(rate) for rate in rates)
    if any(not 0 < step <= shortest for step in checkpoints):
        raise ValueError(f"checkpoints {list(checkpoints)} must lie between 1 and {shortest} steps")
    (order,) = in_lockstep(recipe, runs, len(x), len(runs))
    stack = stack_models(build, [runs[index].init_seed for index in order], device)
    # Not the template is measured: a model that makes a layer in its first pass is refused by the checks below.
    last = prepare_model(build(runs[order[-1]].init_seed)).to(device)
    choice = pass_choice(last.train(), x, y, task, recipe, device)
    with stackable() if choice.stacked else layered():
        _prepare(stack, last, x[:2].to(device), recipe)
        if not choice.stacked and device == "cpu":
            order_filters(stack)
        # Rounding in bfloat16 is larger than the errors that the comparison finds; the check compares in float32.
        kind = TracedPass if choice.stacked else LoopedPass
        engine = kind(task, compare=recipe.precision is not Precision.bf16)
        finished = _Finished(stack, order, checkpoints, min(LOSS_POINTS, shortest))
        dropout = DropoutNeeds(stack)

        def steps() -> Iterator[tuple[Group, int]]:
            for rows in groups:
                chosen = order[rows]
                own = [rates[index] for index in chosen]
                some = [runs[index] for index in chosen]
                group = Group(stack.part(rows), engine, dropout, x, y, recipe, some, own, augment)
                for step in range(group.n_steps):
                    yield group, step
                finished.add(group, rows)

        n_groups = -(-len(order) // min(lockstep, choice.models))
        groups = list(chunks(len(order), -(-len(order) // n_groups)))  # of about the same size
        total = sum(len(rates[order[rows.start]]) for rows in groups)
        for group, step in progress(steps(), f"training {len(runs)} models", total):
            group.step(step)
            finished.keep_checkpoint(group, step + 1)
    return finished.in_order(rates, choice.stacked, groups[0].stop)


def _prepare(stack: Stack, last: nn.Module, x: Rows, recipe: RecipeConfig) -> None:
    """Put a stack into training mode, and refuse models that the engines cannot follow.

    Args:
        stack: models.
        last: the last of the models, built once more.
        x: (2, …) training inputs.
        recipe: recipe with the precision of training.
    """
    stack.template.train()
    with explained(stack.template, "cannot be trained"), recorded_draws():
        with running_statistics():  # so that one example is a batch
            refuse_hidden_references(stack.template, x[:1])
        separate_moving(stack, x)
        if len(next(iter(stack.trained.values()))) > 1:
            refuse_hidden_state(stack, last, x)
    if recipe.precision is Precision.bf16:
        train_in_bfloat16(stack.template)


class _Finished:
    """Results of the groups that are trained, in the order of training.

    Args:
        stack: all models, in the order of training.
        order: index of the run of each model.
        checkpoints: numbers of optimiser steps after which parameters are kept.
        points: number of points of a loss curve.
    """

    def __init__(self, stack: Stack, order: list[int], checkpoints: Sequence[int], points: int) -> None:
        self._stack, self._points = stack, points
        self._back = torch.empty(len(order), dtype=torch.int64)
        self._back[torch.tensor(order)] = torch.arange(len(order))
        self._losses: list[Tensor] = []
        self._checkpoints: dict[int, list[dict[str, Tensor]]] = {step: [] for step in checkpoints}

    def keep_checkpoint(self, group: Group, steps: int) -> None:
        """Keep the parameters of a group after ``steps`` optimiser steps, if that is a checkpoint."""
        if steps in self._checkpoints:
            state = {name: value.clone() for name, value in group.stack.state.items()}
            self._checkpoints[steps].append(state)

    def add(self, group: Group, rows: slice) -> None:
        """Add a group at the end of its training.

        Args:
            group: models.
            rows: their range in the stack of all models.
        """
        for name, value in group.stack.trained.items():
            self._stack.trained[name][rows] = value
        self._losses.append(group.loss(self._points))

    def in_order(self, rates: list[Tensor], stacked: bool, together: int) -> Trained:
        """Return the models in the order of their runs.

        Args:
            rates: learning rates of every run.
            stacked: whether models shared one pass.
            together: largest number of models that were trained at the same time.
        """
        state = {name: value[self._back] for name, value in self._stack.state.items()}
        loss = torch.cat(self._losses)[self._back]
        finite = loss.isfinite().all(1)
        for value in state.values():
            if value.is_floating_point():
                finite &= value.isfinite().reshape(len(value), -1).all(1).cpu()
        points = range(self._points)
        ends = torch.tensor(
            [[-(-len(rate) * (point + 1) // self._points) for point in points] for rate in rates]
        )
        return Trained(
            template=self._stack.template,
            state=state,
            checkpoints={
                step: {name: torch.cat([part[name] for part in parts])[self._back] for name in parts[0]}
                for step, parts in self._checkpoints.items()
            },
            loss=loss,
            loss_steps=ends,
            learning_rates=rates,
            diverged=(~finite).nonzero().flatten().tolist(),
            stacked=stacked,
            together=together,
        )

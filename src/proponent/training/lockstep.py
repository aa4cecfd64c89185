"""Train many models at a time: stacked parameters, one batched forward and backward pass for all of them.

Each model has its own seeds, subset and order of examples, and comes out as if trained alone: the loss of a
stack is the sum of its models' losses, whose gradient by a model's parameters is that model's own, and
optimisers work element by element. Models with fewer examples, hence fewer steps, finish earlier and stay as
they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Generator, Tensor, nn
from torch.func import vmap

from proponent.config.schema import RecipeConfig
from proponent.errors import UserError
from proponent.progress import progress
from proponent.seeds import derive_seed
from proponent.settings.tasks import Task
from proponent.training.designs import Run
from proponent.training.dropout import Draw, draw_masks, given_masks, recorded_draws
from proponent.training.recipe import StackedOptimizer, learning_rates, steps_per_epoch
from proponent.training.stack import Stack, buffer_versions, call, plain_attention, stack_models

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
    # Models that make about as many steps go together, so that all of a chunk are busy nearly until its end.
    order = sorted(range(len(runs)), key=lambda index: -_n_drawn(runs[index], len(x)))
    rates = [learning_rates(recipe, _n_drawn(run, len(x))) for run in runs]
    shortest = min(len(rate) for rate in rates)
    if any(not 0 < step <= shortest for step in checkpoints):
        raise ValueError(f"checkpoints {list(checkpoints)} must lie between 1 and {shortest} steps")
    chunks = [order[start : start + lockstep] for start in range(0, len(order), lockstep)]
    points = min(LOSS_POINTS, shortest)
    finished: list[Stack] = []
    losses: list[Tensor] = []

    def steps() -> Iterator[tuple[_Group, int]]:
        for chunk in chunks:
            chosen = [runs[index] for index in chunk]
            group = _Group(
                build, x, y, task, recipe, chosen, [rates[index] for index in chunk], points, device
            )
            for step in range(group.n_steps):
                yield group, step
            finished.append(group.stack)
            losses.append(group.loss)

    total = sum(max(len(rates[index]) for index in chunk) for chunk in chunks)
    kept: dict[int, list[dict[str, Tensor]]] = {step: [] for step in checkpoints}
    with plain_attention():
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


def epoch_order(run: Run, n: int, epoch: int) -> Tensor:
    """Return the indices of the examples of one epoch of a run in the order in which batches take them."""
    generator = Generator().manual_seed(derive_seed(run.order_seed, "epoch", epoch))
    order = torch.randperm(_n_drawn(run, n), generator=generator)
    if run.mask is None or run.by_weight:
        return order
    return run.mask.nonzero().flatten()[order]


def dropout_generator(run: Run) -> Generator:
    """Return the generator that draws all dropout masks of a run, batch after batch."""
    return Generator().manual_seed(derive_seed(run.order_seed, "dropout"))


def _n_drawn(run: Run, n: int) -> int:
    """Return the number of examples in the batches of an epoch."""
    if run.mask is None:
        return n
    kept = int(run.mask.sum())
    if kept == 0:
        raise UserError("a retraining keeps no example at all; raise the design's fraction")
    return n if run.by_weight else kept


class _Group:
    """Models that are trained together, those with most steps first: the busy ones are always the first."""

    def __init__(
        self,
        build: Callable[[int], nn.Module],
        x: Tensor,
        y: Tensor,
        task: Task,
        recipe: RecipeConfig,
        runs: Sequence[Run],
        rates: Sequence[Tensor],
        points: int,
        device: str,
    ) -> None:
        self.stack = stack_models(build, [run.init_seed for run in runs], device)
        self.stack.template.train()
        self.n_steps = max(len(rate) for rate in rates)
        self._x, self._y, self._task, self._runs = x, y, task, runs
        self._rates = [rate.tolist() for rate in rates]
        self._drawn = [_n_drawn(run, len(x)) for run in runs]
        self._batches = [steps_per_epoch(recipe, drawn) for drawn in self._drawn]
        self._batch_size = recipe.batch_size
        self._orders = torch.zeros((len(runs), max(self._drawn)), dtype=torch.int64, device=device)
        self._weights = None
        if any(run.by_weight for run in runs):
            full = torch.ones(len(x), dtype=torch.bool)
            kept = [run.mask if run.by_weight and run.mask is not None else full for run in runs]
            self._weights = torch.stack(kept).to(device, x.dtype if x.is_floating_point() else torch.float32)
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
        """Let every model that is not finished make its optimiser step number ``step``, counted from 0."""
        busy = sum(len(rates) > step for rates in self._rates)
        sizes = []
        for model in range(busy):
            epoch, batch = divmod(step, self._batches[model])
            if batch == 0:
                order = epoch_order(self._runs[model], len(self._x), epoch)
                self._orders[model, : len(order)] = order
            sizes.append(min(self._batch_size, self._drawn[model] - batch * self._batch_size))
        for rows in _equal_neighbours(sizes):
            losses, gradients = self._gradients(step, rows, sizes[rows.start])
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

    def _gradients(self, step: int, rows: slice, size: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the losses (models,) and gradients (models, …) of models whose batches have one size."""
        models = range(rows.start, rows.stop)
        starts = torch.tensor([step % self._batches[model] * self._batch_size for model in models])
        positions = (starts[:, None] + torch.arange(size)).to(self._orders.device)
        index = self._orders[rows].gather(1, positions)
        x = self._x.index_select(0, index.flatten()).unflatten(0, index.shape)
        y = self._y.index_select(0, index.flatten()).unflatten(0, index.shape)
        weights = self._weights[rows].gather(1, index) if self._weights is not None else None
        masks = draw_masks(self._dropped(size, x[0]), self._generators[rows])
        masks = [mask.to(x.device) for mask in masks]
        trained = {name: value[rows].detach().requires_grad_() for name, value in self.stack.trained.items()}
        fixed = {name: value[rows] for name, value in self.stack.fixed.items()}
        try:
            losses = self._losses(trained, fixed, x, y, weights, masks)
        except RuntimeError as error:
            if step > 0:
                raise
            reason = " ".join(str(error).split())
            raise UserError(
                f"the model cannot be trained in lockstep with torch.func.vmap: {reason}"
            ) from error
        slopes = torch.autograd.grad(losses.sum(), list(trained.values()), allow_unused=True)
        return losses.detach(), {
            name: slope for name, slope in zip(trained, slopes, strict=True) if slope is not None
        }

    def _losses(
        self,
        trained: dict[str, Tensor],
        fixed: dict[str, Tensor],
        x: Tensor,
        y: Tensor,
        weights: Tensor | None,
        masks: list[Tensor],
    ) -> Tensor:
        """Return the batch loss of every model, (models,): a mean, to which left-out examples add nothing."""
        template, task = self.stack.template, self._task

        def loss(
            state: dict[str, Tensor], x: Tensor, y: Tensor, weights: Tensor | None, masks: list[Tensor]
        ) -> Tensor:
            if masks:
                with given_masks(masks):
                    outputs = call(template, state, x)
            else:
                outputs = call(template, state, x)
            losses = task.loss(outputs, y)
            return losses.mean() if weights is None else (losses * weights).mean()

        stacked = (0, 0, 0, None if weights is None else 0, 0)
        return vmap(loss, in_dims=stacked)(trained | fixed, x, y, weights, masks)

    def _dropped(self, size: int, x: Tensor) -> list[Draw]:
        """Return which dropout masks a model needs for a batch of this size; most models need none."""
        if size not in self._draws:
            before = buffer_versions(self.stack)
            first = {name: value[0] for name, value in self.stack.state.items()}
            with torch.no_grad(), recorded_draws() as draws:
                call(self.stack.template, first, x)
            for name, version in buffer_versions(self.stack).items():
                if version != before[name]:
                    raise UserError(
                        f"the model changes its buffer '{name}' in training, which lockstep cannot follow; "
                        "leave it constant"
                    )
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
        """Give parameters the memory order in which their gradients come, so that an update copies nothing.

        Autograd makes the gradient of a stack of weights (models, out, in) in the order (models, in, out).
        """
        for name, gradient in gradients.items():
            value = self.stack.trained[name]
            self.stack.trained[name] = torch.empty_strided(
                value.shape, _strides(value.shape, gradient), dtype=value.dtype, device=value.device
            ).copy_(value)


def _equal_neighbours(values: Sequence[float]) -> Iterator[slice]:
    """Yield the stretches of equal values."""
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

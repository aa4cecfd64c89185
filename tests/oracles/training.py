"""Ordinary training, one model at a time: torch.optim, ``loss.backward()``, a plain loop over batches.

It has in common with the trainer under test only the definition of a run: the order of the examples, the learning rates
and the dropout masks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oracles.dense_model import outputs_of
from proponent.config.recipe_schema import LastBatch, Optimizer, RecipeConfig
from proponent.training.designs import Run
from proponent.training.dropout import draw_masks, given_masks, recorded_draws
from proponent.training.group import dropout_generator
from proponent.training.recipe import learning_rates
from proponent.training.stages import epoch_order, place, stages_of


def train_alone(
    build: Callable[[int], nn.Module],
    x: Tensor,
    y: Tensor,
    recipe: RecipeConfig,
    run: Run,
    checkpoints: Sequence[int] = (),
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    augment: Callable[[Tensor, int, int], Tensor] | None = None,
) -> tuple[nn.Module, dict[int, dict[str, Tensor]], list[float]]:
    """Train one model.

    Returns:
        The model, its state after the steps in ``checkpoints``, and its batch losses.
    """
    per_example = loss or (lambda outputs, labels: F.cross_entropy(outputs, labels, reduction="none"))
    model = build(run.init_seed)
    model.train()
    optimizer = make_optimizer(recipe, model)
    dtype = next(model.parameters()).dtype
    by_weight = run.by_weight and run.mask is not None
    normalises_batches = any(
        isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training for part in model.modules()
    )
    weights = run.mask.to(dtype) if by_weight else torch.ones(len(x), dtype=dtype)
    stages = stages_of(recipe, run, len(x))
    generator = dropout_generator(run)
    rates = learning_rates(recipe, stages)
    saved: dict[int, dict[str, Tensor]] = {}
    losses: list[float] = []
    batches: list[Tensor] = []
    for step, rate in enumerate(rates.tolist()):
        if not batches:
            stage, epoch, _ = place(stages, step)
            batches = batches_of(epoch_order(run, stage, epoch), recipe)
        batch = batches.pop(0)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        given = x[batch] if augment is None else augment(x[batch], run.order_seed, step)
        with recorded_draws() as draws, torch.no_grad():
            buffers = {name: value.clone() for name, value in model.named_buffers()}
            outputs_of(model, given)
            for name, value in model.named_buffers():
                value.copy_(buffers[name])
        masks = [mask[0] for mask in draw_masks(draws, [generator])]
        size = len(batch)
        if normalises_batches and by_weight:  # an example that is left out is in no statistics either
            kept = weights[batch] > 0
            batch, given, masks = batch[kept], given[kept], [mask[kept] for mask in masks]
        with given_masks(masks):
            outputs = outputs_of(model, given)
        value = (per_example(outputs, y[batch]) * weights[batch]).sum() / size
        value.backward()
        optimizer.step()
        losses.append(value.item())
        if step + 1 in checkpoints:
            saved[step + 1] = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return model, saved, losses


def batches_of(order: Tensor, recipe: RecipeConfig) -> list[Tensor]:
    """Return the batches of an epoch as in ordinary training, with the last one kept, dropped or merged."""
    *batches, last = order.split(recipe.batch_size)
    if not batches or len(last) == recipe.batch_size or recipe.last_batch is LastBatch.keep:
        return [*batches, last]
    if recipe.last_batch is LastBatch.drop:
        return batches
    return [*batches[:-1], torch.cat([batches[-1], last])]


def make_optimizer(recipe: RecipeConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimiser of torch.optim that a recipe names."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    common = {"lr": recipe.lr, "weight_decay": recipe.weight_decay, "foreach": False, "fused": False}
    if recipe.optimizer is Optimizer.sgd:
        return torch.optim.SGD(parameters, momentum=recipe.momentum, nesterov=recipe.nesterov, **common)
    adam = torch.optim.Adam if recipe.optimizer is Optimizer.adam else torch.optim.AdamW
    return adam(parameters, betas=tuple(recipe.betas), eps=recipe.eps, **common)

"""An optimiser's update as a pure function of its state, and its derivatives.

The state of an optimiser is a stack of vectors of one length: the parameters first, then its moments. Every update of
:class:`proponent.training.recipe.StackedOptimizer` works element by element, so that its derivative is one small matrix
per parameter.
"""

from __future__ import annotations

import torch
from torch import Tensor

from proponent.config.recipe_schema import Optimizer, RecipeConfig


def n_slots(recipe: RecipeConfig) -> int:
    """Return the number of vectors of the optimiser's state: the parameters, and one per moment."""
    return 3 if recipe.optimizer is not Optimizer.sgd else 1 + (recipe.momentum > 0)


def update(recipe: RecipeConfig, slots: Tensor, gradient: Tensor, lr: float, step: int) -> Tensor:
    """Return the state (n_slots, p) after one step of SGD, Adam or AdamW as in torch.optim.

    Args:
        recipe: optimiser and its constants.
        slots: (n_slots, p) state before the step.
        gradient: (p,) gradient of the batch's loss.
        lr: learning rate.
        step: number of optimiser steps made before.
    """
    parameters, *moments = slots
    decay = recipe.weight_decay
    if recipe.optimizer is Optimizer.adamw:
        parameters = parameters * (1 - lr * decay)
    elif decay:
        gradient = gradient + decay * parameters
    if recipe.optimizer is Optimizer.sgd:
        if not moments:
            return (parameters - lr * gradient)[None]
        velocity = recipe.momentum * moments[0] + gradient
        direction = gradient + recipe.momentum * velocity if recipe.nesterov else velocity
        return torch.stack([parameters - lr * direction, velocity])
    first, second = recipe.betas
    mean = first * moments[0] + (1 - first) * gradient
    square = second * moments[1] + (1 - second) * gradient**2
    root = _root(square) / (1 - second ** (step + 1)) ** 0.5
    return torch.stack(
        [parameters - lr / (1 - first ** (step + 1)) * mean / (root + recipe.eps), mean, square]
    )


def preconditioner(recipe: RecipeConfig, slots: Tensor, steps: int) -> Tensor:
    """Return the factors (p,) with which the optimiser multiplies gradients after ``steps`` steps: ones for SGD."""
    if recipe.optimizer is Optimizer.sgd:
        return torch.ones_like(slots[0])
    square = slots[2] / (1 - recipe.betas[1] ** max(1, steps))
    return 1 / (square.sqrt() + recipe.eps)


def directions(recipe: RecipeConfig, slots: Tensor, gradients: Tensor, step: int) -> Tensor:
    """Return the directions (n, p) against which the next step with each of ``gradients`` (n, p) alone would go.

    For SGD they are the gradients; for Adam they follow from its moments with the gradient added. Weight decay, which
    is the same for all of them, is left out.
    """
    if recipe.optimizer is Optimizer.sgd:
        return gradients
    first, second = recipe.betas
    mean = (first * slots[1] + (1 - first) * gradients) / (1 - first ** (step + 1))
    square = (second * slots[2] + (1 - second) * gradients**2) / (1 - second ** (step + 1))
    return mean / (square.sqrt() + recipe.eps)


def derivatives(
    recipe: RecipeConfig, slots: Tensor, gradient: Tensor, lr: float, step: int
) -> tuple[Tensor, Tensor]:
    """Return the derivatives of :func:`update`, which has the same arguments, element by element.

    Returns:
        Derivatives of each slot after the step (first axis) with respect to each slot before it (second axis),
        (n_slots, n_slots, p), and with respect to the gradient, (n_slots, p). For SGD, which treats all parameters
        alike, p is 1.
    """
    if recipe.optimizer is Optimizer.sgd:
        slots, gradient = slots.new_zeros(len(slots), 1), gradient.new_zeros(1)
    with torch.enable_grad():
        before, slope = slots.detach().requires_grad_(), gradient.detach().requires_grad_()
        after = update(recipe, before, slope, lr, step)
        found = [
            torch.autograd.grad(slot.sum(), (before, slope), retain_graph=True, materialize_grads=True)
            for slot in after
        ]
    return torch.stack([pair[0] for pair in found]), torch.stack([pair[1] for pair in found])


def _root(square: Tensor) -> Tensor:
    """Return the square root, with derivative 0 at 0, where no example has moved a parameter yet."""
    moved = square > 0
    return torch.where(moved, torch.where(moved, square, 1.0).sqrt(), 0.0)

"""The recipe of one optimiser step, for models that are trained already."""

from __future__ import annotations

import dataclasses

from proponent.config.recipe_schema import RecipeConfig, Schedule


def single_step(recipe: RecipeConfig, batch_size: int) -> RecipeConfig:
    """Return the recipe of one step on a batch of ``batch_size`` examples, by the optimiser of another recipe.

    The learning rate is that of the recipe (of its last stage) before any decay, because a schedule may end at 0. The
    optimiser starts without moments, which are not stored with a model.

    Args:
        recipe: recipe of the training.
        batch_size: number of examples.
    """
    last = recipe.stages[-1].lr if recipe.stages else None
    return dataclasses.replace(
        recipe,
        lr=recipe.lr if last is None else last,
        schedule=Schedule.constant,
        warmup_steps=0,
        warmup_epochs=0.0,
        batch_size=batch_size,
        epochs=1,
        steps=None,
        stages=[],
    )

"""The recipe of one optimiser step."""

from __future__ import annotations

import pytest
import torch

from proponent.config.recipe_schema import RecipeConfig, Schedule, StageConfig
from proponent.training.designs import Run
from proponent.training.recipe import learning_rates
from proponent.training.single_step import single_step
from proponent.training.stages import stages_of

STAGES = [StageConfig(20, 2), StageConfig(20, 1, lr=0.002)]


@pytest.mark.parametrize(
    ("recipe", "rate"),
    [
        (RecipeConfig(lr=0.1, schedule=Schedule.cosine, warmup_steps=5, epochs=3), 0.1),
        (RecipeConfig(lr=0.1, schedule=Schedule.step, step_size=1, warmup_epochs=0.5, epochs=3), 0.1),
        (RecipeConfig(lr=0.1, steps=200, batch_size=7), 0.1),
        (RecipeConfig(lr=0.1, stages=STAGES), 0.002),
        (RecipeConfig(lr=0.1, stages=STAGES[:1]), 0.1),
    ],
)
def test_there_is_one_step_at_the_rate_before_any_decay(recipe, rate):
    mask = torch.arange(50) % 10 == 0
    once = single_step(recipe, 5)
    assert learning_rates(once, stages_of(once, Run(0, 0, mask), 50)).tolist() == pytest.approx([rate])

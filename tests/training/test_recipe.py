"""Learning rates, length and checkpoints of a recipe."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, StepLR

from proponent.config.recipe_schema import RecipeConfig, Schedule
from proponent.training.checkpoint_steps import checkpoint_steps
from proponent.training.designs import Run
from proponent.training.recipe import StackedOptimizer, learning_rates
from proponent.training.stages import stages_of


def rates_of(scheduler_class, total, **arguments):
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=0.4)
    scheduler = scheduler_class(optimizer, **arguments)
    rates = []
    for _ in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def rates(recipe, n):
    return learning_rates(recipe, stages_of(recipe, Run(0, 0), n)).tolist()


def test_length_counts_the_last_partial_batch():
    assert len(rates(RecipeConfig(batch_size=64, epochs=50), 2250)) == 36 * 50
    assert len(rates(RecipeConfig(batch_size=64, epochs=50), 2304)) == 36 * 50
    assert len(rates(RecipeConfig(batch_size=64, epochs=50), 2305)) == 37 * 50
    assert len(rates(RecipeConfig(steps=123), 10)) == 123


@pytest.mark.parametrize(
    "schedule, scheduler, arguments",
    [
        ("constant", StepLR, {"step_size": 1000}),
        ("cosine", CosineAnnealingLR, {"T_max": 20}),
        ("linear", LinearLR, {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 20}),
        ("step", StepLR, {"step_size": 8, "gamma": 0.3}),
    ],
)
def test_schedules_are_those_of_torch(schedule, scheduler, arguments):
    recipe = RecipeConfig(lr=0.4, schedule=Schedule(schedule), step_size=2, gamma=0.3, batch_size=5, epochs=5)
    assert rates(recipe, 20) == pytest.approx(rates_of(scheduler, 20, **arguments), abs=1e-12)


def test_warm_up_rises_to_the_learning_rate_and_the_schedule_follows():
    recipe = RecipeConfig(lr=0.4, warmup_steps=4, schedule=Schedule.linear, steps=8)
    assert rates(recipe, 100) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.3, 0.2, 0.1])


def test_a_warm_up_in_epochs_is_shorter_for_a_retraining_on_a_part():
    """Peak after 2 of 4 epochs: of 5 steps each for 20 examples in batches of 4, of 3 steps each for 10 of them."""
    recipe = RecipeConfig(lr=0.4, warmup_epochs=2, schedule=Schedule.linear, epochs=4, batch_size=4)
    half = torch.arange(20) < 10
    for mask, peak, total in ((None, 10, 20), (half, 6, 12)):
        rates = learning_rates(recipe, stages_of(recipe, Run(0, 0, mask), 20))
        assert (len(rates), int(rates.argmax())) == (total, peak - 1)
        in_steps = replace(recipe, warmup_epochs=0, warmup_steps=peak)
        assert torch.equal(rates, learning_rates(in_steps, stages_of(in_steps, Run(0, 0, mask), 20)))


@pytest.mark.parametrize(
    "total, count, steps",
    [
        (3550, 8, [14, 28, 55, 111, 222, 444, 888, 1775]),
        (1000, 3, [125, 250, 500]),
        (8, 8, [1, 2, 4]),
        (3, 4, [2]),
        (1, 4, []),
        (100, 0, []),
    ],
)
def test_checkpoints_halve_from_the_middle(total, count, steps):
    assert checkpoint_steps(total, count) == steps


def test_an_update_reads_gradients_in_any_memory_order():
    value = torch.randn(3, 4, 5)
    gradient = torch.randn(3, 5, 4).mT
    expected = value - 0.1 * gradient
    for stored in (value.clone(), value.mT.contiguous().mT):
        StackedOptimizer(RecipeConfig(lr=0.1, epochs=1), {"w": stored}).step(
            {"w": gradient}, slice(0, 3), 0.1, 0
        )
        torch.testing.assert_close(stored, expected)


def test_an_update_touches_only_its_rows():
    stored = torch.ones(4, 2)
    recipe = RecipeConfig(lr=0.5, momentum=0.9, epochs=1)
    StackedOptimizer(recipe, {"w": stored}).step({"w": torch.ones(2, 2)}, slice(1, 3), 0.5, 0)
    assert stored[:, 0].tolist() == [1.0, 0.5, 0.5, 1.0]

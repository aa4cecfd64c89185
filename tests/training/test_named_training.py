"""Training, evaluation and replay of a network with several inputs are those of the same network with one."""

from __future__ import annotations

import pytest
import torch

from features.named_models import Packed, build, rows
from oracles.gradients import gradients_by_loop
from oracles.training import train_alone
from proponent.config.recipe_schema import Optimizer, RecipeConfig
from proponent.errors import UserError
from proponent.rows import NamedRows
from proponent.settings.split import Arrays
from proponent.settings.tasks import get_task
from proponent.training.designs import Run, member_run
from proponent.training.lockstep import train
from proponent.training.predict import targets
from proponent.training.replay import Replay

TASK = get_task("classification")
WAYS = pytest.mark.parametrize("positional", [False, True], ids=["by keyword", "by position"])
RECIPE = RecipeConfig(lr=0.2, momentum=0.5, batch_size=4, epochs=3)


def packed_towers(dropout):
    return lambda seed: Packed(build(seed, dropout))


@WAYS
def test_models_in_lockstep_are_those_of_ordinary_training(positional):
    x, packed, y = rows(13, positional=positional)
    mask = torch.arange(13) % 3 != 0
    runs = [Run(1, 2), Run(3, 4, mask), Run(5, 6, mask, by_weight=True)]
    trained = train(lambda seed: build(seed, 0.3), x, y, TASK, RECIPE, runs)
    for index, run in enumerate(runs):
        alone, _, _ = train_alone(packed_towers(0.3), packed, y, RECIPE, run)
        for name, value in alone.towers.state_dict().items():
            torch.testing.assert_close(trained.state[name][index], value, rtol=1e-10, atol=1e-12)
        found = targets(trained.template, trained.state, x, y, TASK, batch_size=5)[index]
        torch.testing.assert_close(found, TASK.target(alone.eval()(packed), y), rtol=1e-10, atol=1e-12)


@WAYS
def test_a_replay_is_the_training_with_the_gradients_of_its_steps(positional):
    x, packed, y = rows(13, positional=positional)
    recipe = RecipeConfig(optimizer=Optimizer.adam, lr=0.05, eps=1e-3, batch_size=5, epochs=2)
    run = member_run(0, 0)
    alone, _, _ = train_alone(packed_towers(0.3), packed[:10], y[:10], recipe, run)
    replay = Replay(lambda seed: build(seed, 0.3), TASK, recipe, run, Arrays(x[:10], y[:10], x[10:], y[10:]))
    end = replay.end()
    for name, value in replay.parameters(end).items():
        torch.testing.assert_close(value, alone.towers.state_dict()[name], rtol=1e-10, atol=1e-12)
    expected = gradients_by_loop(alone, TASK.target, packed[10:], y[10:])
    torch.testing.assert_close(end.query_gradients(), expected, rtol=1e-9, atol=1e-11)
    step = next(iter(replay.backward()))
    vectors = torch.randn(2, replay.n_parameters, dtype=torch.float64)
    inner, _ = step.gradient_and_hessian_products(vectors)
    torch.testing.assert_close(inner, vectors @ step.gradients().T, rtol=1e-9, atol=1e-11)


def test_a_model_that_changes_one_of_its_inputs_is_named():
    class Changes(torch.nn.Linear):
        def forward(self, kept, changed):
            """Return the outputs after a change of the second input."""
            return super().forward(kept + changed.add_(1.0))

    x = NamedRows({"kept": torch.randn(6, 2), "changed": torch.randn(6, 2)})
    with pytest.raises(UserError, match="changes its input in place"):
        train(lambda _: Changes(2, 3), x, torch.arange(6) % 3, TASK, RECIPE, [Run(1, 2)])

"""A replay is the training of the lockstep trainer, and the derivatives of its steps are right."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.func import functional_call

from oracles.training import train_alone
from proponent.config.recipe_schema import Optimizer, RecipeConfig, Schedule
from proponent.errors import UserError
from proponent.settings.models import mlp
from proponent.settings.split import Arrays
from proponent.settings.tasks import get_task
from proponent.training.designs import Run, member_run
from proponent.training.lockstep import train
from proponent.training.replay import Replay
from proponent.training.update import derivatives, n_slots, update

TASK = get_task("classification")
RECIPES = {
    "sgd": RecipeConfig(lr=0.3, weight_decay=0.01, batch_size=4, epochs=3),
    "momentum": RecipeConfig(lr=0.1, momentum=0.8, batch_size=4, epochs=3, schedule=Schedule.cosine),
    "nesterov": RecipeConfig(lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.1, batch_size=4, steps=7),
    "adam": RecipeConfig(
        optimizer=Optimizer.adam, lr=0.05, eps=1e-3, weight_decay=0.1, batch_size=4, epochs=2
    ),
    "adamw": RecipeConfig(
        optimizer=Optimizer.adamw, lr=0.05, eps=1e-3, weight_decay=0.1, batch_size=4, epochs=2
    ),
}


def data(n: int = 10, d: int = 4, n_query: int = 3) -> Arrays:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n + n_query, d, generator=generator, dtype=torch.float64)
    x[:, -1] = 0  # a pixel that is never lit: Adam's second moment stays 0
    y = torch.randint(0, 3, (n + n_query,), generator=generator)
    return Arrays(x[:n], y[:n], x[n:], y[n:])


def build(seed: int, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(seed)
    return mlp(4, [5], 3, activation="tanh", dropout=dropout).double()


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("name", RECIPES)
def test_it_ends_at_the_model_of_the_trainer(name: str, dropout: float) -> None:
    run, arrays = member_run(0, 2), data()

    def built(seed: int) -> nn.Module:
        return build(seed, dropout)

    trained = train(built, arrays.x_train, arrays.y_train, TASK, RECIPES[name], [member_run(0, 0), run])
    replay = Replay(built, TASK, RECIPES[name], run, arrays)
    for key, value in replay.parameters(replay.end()).items():
        torch.testing.assert_close(value, trained.state[key][1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", RECIPES)
def test_a_point_along_the_way_has_the_optimisers_state(name: str) -> None:
    recipe, run, arrays = RECIPES[name], member_run(0, 0), data()
    replay = Replay(build, TASK, recipe, run, arrays)
    steps = replay.n_steps // 2
    _, saved, _ = train_alone(build, arrays.x_train, arrays.y_train, recipe, run, [steps])
    point = replay.at(steps / replay.n_steps)
    assert point.steps == steps
    assert len(point.slots) == n_slots(recipe)
    for key, value in replay.parameters(point).items():
        torch.testing.assert_close(value, saved[steps][key])


def test_steps_are_in_reverse_order_and_lead_from_state_to_state() -> None:
    replay = Replay(build, TASK, RECIPES["momentum"], member_run(0, 0), data())
    steps = list(replay.backward())
    assert [step.steps for step in steps] == list(reversed(range(replay.n_steps)))
    after = replay.end().slots
    for step in steps:
        rate = replay.rates[step.steps]
        found = update(replay.recipe, step.slots, step.gradients().mean(0), rate, step.steps)
        torch.testing.assert_close(found, after)
        after = step.slots


@pytest.mark.parametrize("name", RECIPES)
def test_the_derivatives_of_an_update_are_those_of_autograd(name: str) -> None:
    recipe = RECIPES[name]
    generator = torch.Generator().manual_seed(1)
    slots = torch.rand(n_slots(recipe), 4, generator=generator, dtype=torch.float64)
    gradient = torch.randn(4, generator=generator, dtype=torch.float64)
    found = derivatives(recipe, slots, gradient, 0.1, 3)
    dense = torch.autograd.functional.jacobian(lambda s, g: update(recipe, s, g, 0.1, 3), (slots, gradient))
    for ours, theirs in zip(
        found, (dense[0].diagonal(dim1=1, dim2=3), dense[1].diagonal(dim1=1, dim2=2)), strict=True
    ):
        torch.testing.assert_close(ours.expand_as(theirs), theirs)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_hessian_products_are_differences_of_gradients_of_the_batch(dropout: float) -> None:
    replay = Replay(lambda seed: build(seed, dropout), TASK, RECIPES["sgd"], member_run(0, 0), data())
    step = next(replay.backward())
    vectors = torch.randn(3, replay.n_parameters, dtype=torch.float64)
    along, bent = step.gradient_and_hessian_products(vectors)
    torch.testing.assert_close(along, vectors @ step.gradients().T)
    size = 1e-5
    for vector, found in zip(vectors, bent, strict=True):
        ends = [
            replay.model.gradient(step.slots[0] + sign * size * vector, step.batch)[0] for sign in (1, -1)
        ]
        torch.testing.assert_close(found, (ends[0] - ends[1]) / (2 * size), rtol=1e-6, atol=1e-8)


def test_gradients_of_queries_and_losses_are_those_of_the_model_without_dropout() -> None:
    arrays = data()
    replay = Replay(lambda seed: build(seed, 0.4), TASK, RECIPES["sgd"], member_run(0, 0), arrays)
    end, module = replay.end(), build(0, 0.4).eval()

    def flat(value: torch.Tensor, parameters: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.cat([g.flatten() for g in torch.autograd.grad(value, list(parameters.values()))])

    parameters = {name: value.clone().requires_grad_() for name, value in replay.parameters(end).items()}
    outputs = functional_call(module, parameters, (arrays.x_query,))
    target = TASK.target(outputs, arrays.y_query)
    torch.testing.assert_close(end.query_gradients()[1], flat(target[1], parameters))
    outputs = functional_call(module, parameters, (arrays.x_train,))
    loss = TASK.loss(outputs, arrays.y_train)
    torch.testing.assert_close(end.loss_gradients(torch.tensor([7, 2]))[0], flat(loss[7], parameters))


def test_a_parameter_that_nothing_depends_on_is_left_as_it_is() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.idle = nn.Parameter(torch.ones(2))
            self.linear = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x)

    replay = Replay(lambda _: Idle().double(), TASK, RECIPES["sgd"], Run(0, 0), data())
    assert list(replay.model.shapes) == ["linear.weight", "linear.bias"]


def test_batch_statistics_are_refused() -> None:
    with pytest.raises(UserError, match="uses the statistics of the batch"):
        Replay(
            lambda _: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)),
            TASK,
            RECIPES["sgd"],
            Run(0, 0),
            data(),
        )


@pytest.mark.parametrize("steps", [1, 2, 7, 9, 10])
def test_all_steps_are_replayed_for_any_number_of_steps(steps: int) -> None:
    recipe = RecipeConfig(lr=0.1, batch_size=4, steps=steps)
    replay = Replay(build, TASK, recipe, member_run(0, 0), data())
    assert sum(1 for _ in replay.backward()) == steps
    kept = len(replay._kept[0])
    assert kept <= math.isqrt(steps) + 1

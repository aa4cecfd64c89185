"""MAGIC against finite differences of whole trainings with torch.optim, in float64."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from features.models import MODELS
from oracles.unrolling import differences
from proponent.config.recipe_schema import Optimizer, RecipeConfig, StageConfig
from proponent.methods.unrolling import magic
from proponent.settings.models import mlp
from proponent.settings.split import Arrays
from proponent.settings.tasks import get_task
from proponent.training.designs import member_run
from proponent.training.replay import Replay

TASK = get_task("classification")
RUN = member_run(0, 1)
RECIPES = {
    "sgd": RecipeConfig(lr=0.3, weight_decay=0.01, batch_size=4, epochs=3),
    "momentum": RecipeConfig(lr=0.1, momentum=0.8, batch_size=4, epochs=3),
    "nesterov": RecipeConfig(lr=0.1, momentum=0.8, nesterov=True, batch_size=4, epochs=3),
    "adam": RecipeConfig(
        optimizer=Optimizer.adam, lr=0.05, eps=1e-2, weight_decay=0.1, batch_size=4, epochs=3
    ),
    "adamw": RecipeConfig(
        optimizer=Optimizer.adamw, lr=0.05, eps=1e-2, weight_decay=0.1, batch_size=4, epochs=3
    ),
    "stages": RecipeConfig(
        lr=0.1, momentum=0.8, batch_size=4, stages=[StageConfig(4, 3, lr=0.3), StageConfig(6, 2)]
    ),
}


def data(x: torch.Tensor, n_query: int = 3) -> Arrays:
    y = torch.randint(0, 3, (len(x),), generator=torch.Generator().manual_seed(1))
    return Arrays(x[n_query:], y[n_query:], x[:n_query], y[:n_query])


def arrays() -> Arrays:
    return data(torch.randn(13, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64))


def network(seed: int, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(seed)
    return mlp(4, [5], 3, activation="tanh", dropout=dropout).double()


@pytest.mark.parametrize("name", RECIPES)
def test_scores_are_derivatives_of_training(name: str) -> None:
    replay = Replay(network, TASK, RECIPES[name], RUN, arrays())
    expected = differences(network, arrays(), RECIPES[name], RUN, TASK)
    torch.testing.assert_close(magic.attribute(replay), expected, rtol=1e-5, atol=1e-7)


def test_scores_are_derivatives_with_the_same_dropout_masks() -> None:
    def build(seed: int) -> nn.Module:
        return network(seed, dropout=0.4)

    replay = Replay(build, TASK, RECIPES["momentum"], RUN, arrays())
    expected = differences(build, arrays(), RECIPES["momentum"], RUN, TASK)
    torch.testing.assert_close(magic.attribute(replay), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["conv2d", "layer-norm", "embedding", "attention", "tied"])
def test_scores_are_derivatives_for_layers_of_all_kinds(name: str) -> None:
    model, draw = MODELS[name]

    def build(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return model().double()

    torch.manual_seed(0)
    x = draw(9)
    given = data(x.double() if x.is_floating_point() else x)
    recipe = RecipeConfig(lr=0.05, momentum=0.5, batch_size=3, epochs=2)

    def without_dropout(seed: int) -> nn.Module:
        module = build(seed)
        for part in module.modules():
            if isinstance(part, nn.Dropout):
                part.p = 0.0
            if isinstance(part, nn.MultiheadAttention):
                part.dropout = 0.0
        return module

    found = magic.attribute(Replay(without_dropout, TASK, recipe, RUN, given))
    expected = differences(without_dropout, given, recipe, RUN, TASK)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


def test_blocks_of_queries_give_the_same_scores() -> None:
    whole = Replay(network, TASK, RECIPES["momentum"], RUN, arrays())
    parts = Replay(network, TASK, RECIPES["momentum"], RUN, arrays())
    parts.budget = SimpleNamespace(largest=lambda need, most, what: 2)
    parts.model.vectors_at_a_time = 1
    torch.testing.assert_close(magic.attribute(parts), magic.attribute(whole))


@pytest.mark.slow
def test_a_long_training_of_a_convex_model_gives_the_influence_function() -> None:
    def build(_: int) -> nn.Module:
        return nn.Sequential(nn.Linear(4, 3)).double()

    given = arrays()
    recipe = RecipeConfig(lr=0.5, weight_decay=0.1, batch_size=10, epochs=400)
    replay = Replay(build, TASK, recipe, RUN, given)
    parameters = replay.end().slots[0]

    def objective(point: torch.Tensor) -> torch.Tensor:
        outputs = given.x_train @ point[:12].reshape(3, 4).T + point[12:]
        return TASK.loss(outputs, given.y_train).mean() + 0.05 * point @ point

    hessian = torch.autograd.functional.hessian(objective, parameters)
    losses = replay.end().loss_gradients(torch.arange(10))
    expected = -replay.end().query_gradients() @ torch.linalg.solve(hessian, losses.T) / 10
    torch.testing.assert_close(magic.attribute(replay), expected, rtol=1e-6, atol=1e-9)

"""Numerical types: float64 through all engines, bfloat16 in the forward passes of training alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from oracles.gradients import gradients_by_loop
from proponent.config.model_schema import FactoryConfig
from proponent.config.recipe_schema import Precision, RecipeConfig
from proponent.config.setting_schema import QueriesConfig
from proponent.errors import UserError
from proponent.features.curvature.member_curvature import Curvature
from proponent.features.member_features import featurize
from proponent.methods.unrolling import magic
from proponent.settings.factories import build_model
from proponent.settings.floating_types import converted_model
from proponent.settings.model_preparation import prepare_model
from proponent.settings.split import Arrays, Split, check_model, materialise
from proponent.settings.tasks import get_task
from proponent.training.designs import Run
from proponent.training.lockstep import Trained, train
from proponent.training.predict import targets
from proponent.training.replay import Replay
from proponent.training.stack import state_dict
from proponent.training.stages import epoch_order, stages_of

TASK = get_task("classification")
RECIPE = RecipeConfig(lr=0.1, momentum=0.9, epochs=3, batch_size=8)
RUNS = [Run(1, 2), Run(3, 4), Run(5, 6)]
MLP = FactoryConfig("proponent.settings.models:mlp", {"n_features": 6, "hidden": [5], "n_classes": 3})


def data(precision: Precision) -> Arrays:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(20) % 3
    x = torch.randn(20, 6, generator=generator, dtype=torch.float64) + y[:, None]
    split = Split(train=(x[:12], y[:12]), query=(x[12:], y[12:]))
    return materialise(split, TASK, QueriesConfig(4, 4), "lab", precision)


def builder(precision: Precision) -> Callable[[int], nn.Module]:
    return lambda seed: build_model(MLP, seed, precision)


def trained(precision: Precision) -> Trained:
    given = data(precision)
    recipe = replace(RECIPE, precision=precision)
    return train(builder(precision), given.x_train, given.y_train, TASK, recipe, RUNS)


def ordinary(run: Run, given: Arrays, module: nn.Module, autocast: bool = False) -> dict[str, Tensor]:
    """Return the state dict after ordinary training in the order of a run, without proponent's engines."""
    optimizer = torch.optim.SGD(module.train().parameters(), lr=RECIPE.lr, momentum=RECIPE.momentum)
    (stage,) = stages_of(RECIPE, run, len(given.x_train))
    for epoch in range(RECIPE.epochs):
        for batch in epoch_order(run, stage, epoch).split(RECIPE.batch_size):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                outputs = module(given.x_train[batch])
            TASK.loss(outputs.float() if autocast else outputs, given.y_train[batch]).mean().backward()
            optimizer.step()
    return module.state_dict()


def test_a_model_in_float64_is_trained_in_float64() -> None:
    found, given = trained(Precision.float64), data(Precision.float64)
    assert given.x_train.dtype == given.x_query.dtype == torch.float64
    for row, run in enumerate(RUNS):
        expected = ordinary(run, given, builder(Precision.float64)(run.init_seed))
        torch.testing.assert_close(
            state_dict(found.template, found.state, row), expected, rtol=1e-12, atol=1e-13
        )


def test_features_curvature_and_replays_of_a_model_in_float64_are_in_float64() -> None:
    given, build = data(Precision.float64), builder(Precision.float64)
    module = build(0)
    tensors, _ = featurize("gradients", module, lambda _: module.state_dict(), 1, TASK, given, memory_mib=100)
    assert {value.dtype for value in tensors.values() if value.is_floating_point()} == {torch.float64}
    member = Curvature(module, TASK, *given, weight_decay=0.0, duration=1.0)
    expected = gradients_by_loop(module, TASK.target, given.x_query, given.y_query)
    torch.testing.assert_close(member.query.dense(), expected, rtol=1e-12, atol=1e-13)
    vectors = torch.randn(2, member.n_parameters, dtype=torch.float64)
    torch.testing.assert_close(member.ggn_product(vectors), vectors @ member.ggn().T, rtol=1e-12, atol=1e-13)
    scores = magic.attribute(Replay(build, TASK, RECIPE, RUNS[0], given))
    assert scores.dtype == torch.float64
    assert scores.isfinite().all()


def test_labels_of_a_regression_and_weights_keep_float64() -> None:
    y = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    split = Split(train={"x": y[:, None], "y": y, "weight": y}, query=(y[:, None], y))
    found = materialise(split, get_task("regression"), QueriesConfig(1, 2), "lab", Precision.float64)
    assert torch.equal(found.y_train, y) and torch.equal(found.weight_train, y)
    rounded = materialise(split, get_task("regression"), QueriesConfig(1, 2), "lab")
    assert rounded.y_train.dtype == rounded.x_query.dtype == rounded.weight_train.dtype == torch.float32


def test_training_in_bf16_is_that_of_autocast_and_keeps_parameters_in_float32() -> None:
    found, given = trained(Precision.bf16), data(Precision.bf16)
    for row, run in enumerate(RUNS):
        own = state_dict(found.template, found.state, row)
        build = builder(Precision.bf16)
        expected = ordinary(run, given, build(run.init_seed), autocast=True)
        exact = ordinary(run, given, build(run.init_seed))
        for name, value in own.items():
            assert value.dtype == torch.float32
            largest = float(expected[name].abs().max())
            assert float((value - expected[name]).abs().max()) < 0.02 * largest
        assert any(float((value - exact[name]).abs().max()) > 1e-5 for name, value in own.items())


def test_targets_of_models_that_were_trained_in_bf16_are_computed_in_float32() -> None:
    found, given = trained(Precision.bf16), data(Precision.bf16)
    predicted = targets(found.template, found.state, given.x_query, given.y_query, TASK)
    module = builder(Precision.float32)(0)
    module.load_state_dict(state_dict(found.template, found.state, 1))
    with torch.no_grad():
        expected = TASK.target(module.eval()(given.x_query), given.y_query)
    torch.testing.assert_close(predicted[1], expected)


def test_pretrained_weights_in_half_precision_are_converted() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        module = converted_model(prepare_model(nn.Linear(3, 2).to(dtype)), Precision.float32)
        assert module.weight.dtype == torch.float32


def test_a_model_in_float64_without_the_precision_is_refused_with_the_key_to_set() -> None:
    with pytest.raises(UserError, match=r"parameters are float64.*recipe\.precision: float64"):
        check_model(nn.Linear(6, 3).double(), data(Precision.float32), TASK, "lab")

"""Properties of all methods: averages over members and checkpoints, and no silent zero on any kind of setting."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from torch import Tensor

from methods.fakes import Checkpoints, World, inputs_of, linear_world, mlp_world
from methods.test_signs import CONFIGS, FAMILIES, positional
from proponent.attribution.averaging import average

PER_MEMBER = ("gradients", "network", "representations", "outputs")


@pytest.fixture(scope="module")
def worlds() -> list[World]:
    """Return three members with the same data and different parameters."""
    first = mlp_world(n=30, steps=40, n_query=3)
    generator = torch.Generator().manual_seed(5)
    moves = [0.2 * torch.randn(len(first.theta), generator=generator, dtype=torch.float64) for _ in range(2)]
    return [first, *(first.at_theta(first.theta + move) for move in moves)]


def needs_of(module, world: World) -> dict[str, object]:
    return inputs_of(module, world)


def configured(name: str) -> tuple[object, dict[str, object]]:
    module = FAMILIES[CONFIGS[name]["family"]]
    params = dict(CONFIGS[name].get("params", {}))
    if "projection_dim" in params:
        params["projection_dim"] = 30
    return module, params


def combined_scores(module, params: dict, members: list[dict], checkpoints: tuple = ()) -> Tensor:
    """Return the method's scores averaged over ``members`` and ``checkpoints``."""
    (mean,) = average(module.attribute, [params], members, checkpoints=checkpoints)
    return mean.scores()


def single(module, params: dict, inputs: dict) -> tuple[Tensor, ...]:
    """Return the factors that the method returns for one member."""
    found = module.attribute(**inputs, **params)
    if isinstance(found, np.ndarray):
        return (torch.from_numpy(found),)
    if isinstance(found, dict):
        return (found["scores"],)
    return found if isinstance(found, tuple) else (found,)


def by_hand(found: list[tuple[Tensor, ...]]) -> Tensor:
    """Return the product of the factors' means."""
    result = torch.ones(())
    for factors in zip(*found, strict=True):
        result = result * torch.stack(factors).mean(0)
    return result


AVERAGED = [
    name
    for name, config in CONFIGS.items()
    if set(positional(FAMILIES[config["family"]].attribute)) & set(PER_MEMBER)
    and not hasattr(FAMILIES[config["family"]], "group_scores")
    and config["family"] != "if_lissa"  # takes seconds on this dense world, and is averaged by the same code
]


@pytest.mark.parametrize("name", AVERAGED)
def test_members_are_averaged_factor_by_factor(name: str, worlds: list[World]) -> None:
    module, params = configured(name)
    members = [needs_of(module, world) for world in worlds]
    combined = combined_scores(module, params, members)
    expected = by_hand([single(module, params, inputs) for inputs in members])
    torch.testing.assert_close(combined, expected, rtol=1e-6, atol=1e-9)
    assert combined.std() > 0
    assert (combined != combined_scores(module, params, members[:1])).any(), "the other members count"


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in AVERAGED
        if "checkpoint" in inspect.signature(FAMILIES[CONFIGS[n]["family"]].attribute).parameters
    ],
)
def test_checkpoints_are_averaged_like_members(name: str, worlds: list[World]) -> None:
    module, params = configured(name)
    params.pop("checkpoint", None)
    own = [needs_of(module, world) for world in worlds]
    inputs = dict(own[0])
    for need in PER_MEMBER:
        if need in inputs:
            inputs[need] = Checkpoints({at: own[k][need].at(1.0) for k, at in enumerate((0.25, 0.5, 1.0))})
    combined = combined_scores(module, params, [inputs], (0.25, 1.0))
    expected = by_hand([single(module, {**params, "checkpoint": at}, inputs) for at in (0.25, 1.0)])
    torch.testing.assert_close(combined, expected, rtol=1e-6, atol=1e-9)
    assert (combined != combined_scores(module, params, [inputs])).any(), "the early checkpoint counts"


WORLDS = {
    "logistic regression": lambda: linear_world(30, 4, 3, n_query=3),
    "linear regression": lambda: linear_world(30, 4, None, n_query=3),
    "network, classification": lambda: mlp_world(n=30, steps=40, n_query=3),
    "network, regression": lambda: mlp_world(n=30, steps=40, n_classes=None, n_query=3),
}


@pytest.fixture(scope="module", params=WORLDS)
def kind(request: pytest.FixtureRequest) -> World:
    return WORLDS[request.param]()


@pytest.mark.parametrize(
    "name",
    [name for name in CONFIGS if name not in ("if-lissa", "beta-shapley", "airrep", "airrep-text")],
)
def test_a_method_runs_on_a_task_or_says_that_it_does_not(name: str, kind: World) -> None:
    """A method that its TASKS allow gives finite scores that differ between examples: never a silent zero."""
    module, params = configured(name)
    task = "classification" if kind.classification else "regression"
    if task not in getattr(module, "TASKS", (task,)):
        pytest.skip("refused when the DAG is built: tests/workflow/test_what_can_run.py")
    found = by_hand([single(module, params, needs_of(module, kind))])
    assert found.shape == (3, 30)
    assert found.isfinite().all()
    assert (found.std(1) > 0).all()

"""GradDot, GradCos and TracIn against plain autograd and against training itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import grad

from methods.fakes import Checkpoints, World, mlp_world
from oracles.influence import one_by_one
from proponent.methods.gradient_similarity import graddot, tracin


def loss_gradients(world: World) -> Tensor:
    return one_by_one(
        lambda theta: torch.stack(
            [world.loss(theta, x, y) for x, y in zip(world.x_train, world.y_train, strict=True)]
        ),
        world.theta,
    )


def descend(start: World, rate: float, steps: int, momentum: float = 0.0) -> tuple[Checkpoints, Tensor]:
    """Return all checkpoints of full-batch gradient descent and the changes of the targets."""
    slope = grad(start.objective)
    theta, velocity, pairs = start.theta, torch.zeros_like(start.theta), {}
    for step in range(1, steps + 1):
        velocity = momentum * velocity + slope(theta)
        theta = theta - rate * velocity
        world = start.at_theta(theta, duration=step * rate / (1 - momentum))
        world.learning_rate = rate
        pairs[step / steps] = world.pair()
    return Checkpoints(pairs), start.targets(theta) - start.targets(start.theta)


def test_graddot_is_the_first_order_effect_of_a_step() -> None:
    world = mlp_world(steps=20)
    query, train = one_by_one(world.targets, world.theta), loss_gradients(world)
    torch.testing.assert_close(graddot.attribute(world.gradients()), -query @ train.T)


def test_gradcos_is_the_cosine() -> None:
    world = mlp_world(steps=20)
    query, train = one_by_one(world.targets, world.theta), loss_gradients(world)
    expected = -torch.nn.functional.cosine_similarity(query[:, None], train[None], dim=2)
    torch.testing.assert_close(graddot.attribute(world.gradients(), normalise=True), expected)


def test_an_example_without_gradient_has_no_cosine() -> None:
    pair = mlp_world().pair()
    pair.train.values[3] = 0
    scores = graddot.attribute(Checkpoints({1.0: pair}), normalise=True)
    assert torch.equal(scores[:, 3], torch.zeros(len(scores), dtype=scores.dtype))
    assert scores.isfinite().all()


def test_tracin_adds_up_to_the_change_of_the_target() -> None:
    """The sum over examples is f(end) - f(start) up to O(rate), so the error halves with the rate."""
    start = mlp_world(steps=0)
    start.weight_decay = 0.0
    errors = []
    for rate, steps in ((0.02, 50), (0.01, 100), (0.005, 200)):
        path, change = descend(start, rate, steps)
        errors.append((tracin.attribute(path, steps="path").sum(1) - change).abs().max().item())
        assert errors[-1] < 0.05 * change.abs().max()
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.1)


@pytest.mark.slow
def test_tracin_accounts_for_momentum() -> None:
    start = mlp_world(steps=0)
    start.weight_decay = 0.0
    path, change = descend(start, 0.001, 500, momentum=0.5)
    torch.testing.assert_close(tracin.attribute(path, steps="path").sum(1), change, rtol=0.02, atol=0.02)


def test_tracin_with_one_checkpoint_is_graddot() -> None:
    world = mlp_world()
    world.learning_rate = len(world.x_train)
    torch.testing.assert_close(
        tracin.attribute(world.gradients(), steps="rate"), graddot.attribute(world.gradients())
    )


def test_rates_and_paths_agree_on_evenly_spaced_checkpoints() -> None:
    path, _ = descend(mlp_world(steps=0), 0.1, 5)
    torch.testing.assert_close(tracin.attribute(path, steps="rate"), tracin.attribute(path, steps="path"))


@pytest.mark.parametrize("steps", ["rate", "path"])
def test_tracin_until_a_point_equals_tracin_of_the_shorter_training(steps: str) -> None:
    start = mlp_world(steps=0)
    path, _ = descend(start, 0.1, 10)
    early = Checkpoints(dict(list(path.values.items())[:4]))
    torch.testing.assert_close(
        tracin.attribute(path, steps=steps, until=0.4), tracin.attribute(early, steps=steps)
    )
    own = [
        tracin.self_influence(of, layers="all", steps=steps, until=until)
        for of, until in ((path, 0.4), (early, 1.0))
    ]
    torch.testing.assert_close(*own)
    first = Checkpoints(dict(list(path.values.items())[:1]))
    torch.testing.assert_close(
        tracin.attribute(path, steps=steps, until=0.01), tracin.attribute(first, steps=steps)
    )


def test_the_last_layer_is_error_times_representation() -> None:
    """For the margin, d f / d logits is onehot - softmax over the other classes, so no backward pass is needed."""
    world = mlp_world()
    found = world.representations().at(1.0)
    ones = [block.new_ones(len(block), 1) for block in (found.query, found.train)]
    query, train = torch.cat([found.query, ones[0]], 1), torch.cat([found.train, ones[1]], 1)
    logits = torch.stack([world.forward(world.theta, x) for x in world.x_query])
    own = torch.nn.functional.one_hot(world.y_query, 3)
    slope = own - logits.masked_fill(own.bool(), -torch.inf).softmax(1)
    p = torch.stack([world.forward(world.theta, x) for x in world.x_train]).softmax(1)
    error = torch.nn.functional.one_hot(world.y_train, 3) - p
    expected = world.learning_rate / len(train) * (slope @ error.T) * (query @ train.T)
    found = tracin.attribute(world.gradients(), layers="last", steps="rate")
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("layers", ["all", "last"])
@pytest.mark.parametrize("steps", ["rate", "path"])
def test_self_influence_of_tracin_is_the_diagonal(layers: str, steps: str) -> None:
    world = mlp_world(n_classes=None, steps=0)
    world = world.at_queries(world.x_train, world.y_train)
    path, _ = descend(world, 0.05, 4)
    scores = tracin.attribute(path, layers=layers, steps=steps)
    found = tracin.self_influence(path, layers=layers, steps=steps, until=1.0)
    torch.testing.assert_close(found, scores.diagonal())


@pytest.mark.parametrize("normalise", [False, True])
def test_self_influence_of_graddot_is_the_diagonal(normalise: bool) -> None:
    world = mlp_world(n_classes=None)
    world = world.at_queries(world.x_train, world.y_train)
    scores = graddot.attribute(world.gradients(), normalise=normalise)
    found = graddot.self_influence(world.gradients(), normalise=normalise, checkpoint=1.0)
    torch.testing.assert_close(found, scores.diagonal())


def test_self_influence_of_graddot_is_the_squared_loss_gradient() -> None:
    world = mlp_world()
    expected = (loss_gradients(world) ** 2).sum(1)
    own = graddot.self_influence(world.gradients(), normalise=False, checkpoint=1.0)
    torch.testing.assert_close(own, expected)

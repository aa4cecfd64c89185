"""Influence is the derivative of retraining, and every solver finds the same one."""

from __future__ import annotations

import pytest
import torch

from methods.fakes import Curvature, World, linear_world, mlp_world, newton
from oracles.influence import dense_influence, one_by_one, retraining_slopes
from proponent.errors import UserError
from proponent.methods.influence import if_cg, if_exact
from proponent.methods.shared.solvers import damping_grid


def dense(world: World, curvature: str, damping: float) -> torch.Tensor:
    """The oracle: gradients by ordinary backward passes, a dense inverse."""
    model = Curvature(world)
    losses = one_by_one(
        lambda theta: torch.stack(
            [world.loss(theta, x, y) for x, y in zip(world.x_train, world.y_train, strict=True)]
        ),
        world.theta,
    )
    matrix = model.hessian() if curvature == "hessian" else model.ggn()
    shift = world.weight_decay + damping / world.duration
    return dense_influence(one_by_one(world.targets, world.theta), losses, matrix, shift)


@pytest.mark.parametrize("n_classes", [None, 2, 3], ids=["ridge", "binary", "three classes"])
@pytest.mark.parametrize("curvature", ["ggn", "hessian"])
def test_influence_is_the_slope_of_retraining(n_classes: int | None, curvature: str) -> None:
    world = linear_world(n=20, d=4, n_classes=n_classes)
    slopes = retraining_slopes(
        lambda weights: newton(lambda theta: world.objective(theta, weights), world.theta),
        world.targets,
        len(world.x_train),
    )
    scores = if_exact.attribute(world.network(), curvature=curvature, damping=0.0)
    torch.testing.assert_close(scores, slopes, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("damping", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("world", [mlp_world(n=30), mlp_world(n=10)], ids=["few parameters", "few examples"])
def test_every_solver_equals_the_dense_one(world: World, damping: float) -> None:
    # 43 parameters against 90 or 30 rows of the Gauss-Newton root: both spaces are tried
    expected = dense(world, "ggn", damping)
    exact = if_exact.attribute(world.network(), damping=damping)
    krylov = if_cg.attribute(world.network(), damping=damping, tolerance=1e-10, block=3)
    torch.testing.assert_close(exact, expected)
    torch.testing.assert_close(krylov, expected, rtol=1e-6, atol=1e-8)


def test_the_true_hessian_with_enough_damping() -> None:
    world = mlp_world()
    expected = dense(world, "hessian", 30.0)
    options = {"curvature": "hessian", "damping": 30.0}
    torch.testing.assert_close(if_exact.attribute(world.network(), **options), expected)
    found = if_cg.attribute(world.network(), **options, tolerance=1e-10)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_a_grid_gives_the_same_scores_as_single_dampings() -> None:
    world = mlp_world()
    network = world.network()
    with damping_grid([0.1, 1.0, 10.0]):
        grid = [if_exact.attribute(network, damping=damping) for damping in (0.1, 1.0, 10.0)]
    for damping, scores in zip((0.1, 1.0, 10.0), grid, strict=True):
        torch.testing.assert_close(scores, if_exact.attribute(network, damping=damping))


def test_one_krylov_sequence_serves_a_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    products = []
    original = Curvature.ggn_product
    monkeypatch.setattr(
        Curvature, "ggn_product", lambda self, rows: products.append(len(rows)) or original(self, rows)
    )
    network = mlp_world().network()
    dampings = [1.0, 0.1, 0.5, 10.0]
    with damping_grid(dampings):
        grid = [if_cg.attribute(network, damping=dampings[0], tolerance=1e-10)]
        spent = len(products)
        grid += [if_cg.attribute(network, damping=damping, tolerance=1e-10) for damping in dampings[1:]]
    assert len(products) == spent
    for damping, scores in zip(dampings, grid, strict=True):
        alone = if_cg.attribute(network, damping=damping, tolerance=1e-10)
        torch.testing.assert_close(alone, scores, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("n", [30, 10])
def test_self_influence_is_the_diagonal_of_the_scores_on_minus_loss(n: int) -> None:
    world = mlp_world(n=n, n_classes=None)
    world = world.at_queries(world.x_train, world.y_train)
    scores = if_exact.attribute(world.network(), damping=0.5)
    torch.testing.assert_close(if_exact.self_influence(world.network(), damping=0.5), scores.diagonal())


def test_self_influence_of_a_classifier_is_that_of_its_loss() -> None:
    world = mlp_world()
    world = world.at_queries(world.x_train, world.y_train)
    margins = if_exact.attribute(world.network()).diagonal()
    torch.testing.assert_close(if_exact.self_influence(world.network()), margins * world.loss_weight)


def test_what_does_not_fit_is_refused_in_numbers() -> None:
    network = mlp_world().network()
    with pytest.raises(UserError, match="43 parameters and 90 example rows exceed max_dimension 40"):
        if_exact.attribute(network, max_dimension=40)
    with pytest.raises(UserError, match="43 parameters exceed max_dimension 40"):
        if_exact.attribute(network, curvature="hessian", max_dimension=40)


def test_negative_curvature_is_named() -> None:
    network = mlp_world(steps=0).network()
    network.at(1.0).duration = 1e6
    with pytest.raises(UserError, match="not positive definite"):
        if_exact.attribute(network, curvature="hessian")
    with pytest.raises(UserError, match="negative curvature"):
        if_cg.attribute(network, curvature="hessian")


def test_unfinished_conjugate_gradients_warn() -> None:
    with pytest.warns(UserWarning, match=r"residual .* after 1 iterations"):
        if_cg.attribute(mlp_world().network(), iterations=1)

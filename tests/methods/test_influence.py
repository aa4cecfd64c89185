"""Influence is the derivative of retraining, and all solvers agree."""

from __future__ import annotations

import pytest
import torch

from methods.fakes import Curvature, World, linear_world, mlp_world, newton, self_influence
from oracles.influence import dense_influence, one_by_one, retraining_slopes
from proponent.errors import UserError
from proponent.methods.influence import if_cg, if_exact
from proponent.methods.shared.workspace import Workspace


def dense(world: World, damping: float) -> torch.Tensor:
    """Return the scores of the oracle: gradients by ordinary backward passes, a dense inverse."""
    model = Curvature(world)
    losses = one_by_one(
        lambda theta: torch.stack(
            [world.loss(theta, x, y) for x, y in zip(world.x_train, world.y_train, strict=True)]
        ),
        world.theta,
    )
    shift = world.weight_decay + damping / world.duration
    return dense_influence(one_by_one(world.targets, world.theta), losses, model.ggn(), shift)


@pytest.mark.parametrize("n_classes", [None, 2, 3], ids=["ridge", "binary", "three classes"])
def test_influence_is_the_slope_of_retraining(n_classes: int | None) -> None:
    world = linear_world(n=20, d=4, n_classes=n_classes)
    slopes = retraining_slopes(
        lambda weights: newton(lambda theta: world.objective(theta, weights), world.theta),
        world.targets,
        len(world.x_train),
    )
    scores = if_exact.attribute(world.network(), Workspace(), damping=0.0)
    torch.testing.assert_close(scores, slopes, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("damping", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("world", [mlp_world(n=30), mlp_world(n=10)], ids=["few parameters", "few examples"])
def test_every_solver_equals_the_dense_one(
    world: World, damping: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 43 parameters against 90 or 30 rows of the Gauss-Newton root: both spaces are tried
    monkeypatch.setattr(if_cg, "BLOCK", 3)
    expected = dense(world, damping)
    exact = if_exact.attribute(world.network(), Workspace(), damping=damping)
    krylov = if_cg.attribute(world.network(), Workspace(), damping=damping, tolerance=1e-10)
    torch.testing.assert_close(exact, expected)
    torch.testing.assert_close(krylov, expected, rtol=1e-6, atol=1e-8)


def test_a_grid_gives_the_same_scores_as_single_dampings() -> None:
    network, dampings = mlp_world().network(), (0.1, 1.0, 10.0)
    workspace = Workspace(dampings)
    grid = [if_exact.attribute(network, workspace, damping=damping) for damping in dampings]
    for damping, scores in zip(dampings, grid, strict=True):
        torch.testing.assert_close(scores, if_exact.attribute(network, Workspace(), damping=damping))


@pytest.mark.parametrize("n", [30, 10], ids=["in parameter space", "in example space"])
def test_scores_after_a_grid_have_the_bytes_of_those_without_one(n: int) -> None:
    network, workspace = mlp_world(n=n).network(), Workspace([0.1, 1.0, 10.0])
    if_exact.attribute(network, workspace, damping=1.0)
    workspace.announce(())
    final = if_exact.attribute(network, workspace, damping=1.0)
    assert torch.equal(final, if_exact.attribute(network, Workspace(), damping=1.0))


def test_one_krylov_sequence_serves_a_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    products = []
    original = Curvature.ggn_product
    monkeypatch.setattr(
        Curvature,
        "ggn_product",
        lambda self, rows, count=0: products.append(len(rows)) or original(self, rows),
    )
    network, dampings = mlp_world().network(), [1.0, 0.1, 0.5, 10.0]
    workspace = Workspace(dampings)
    grid = [if_cg.attribute(network, workspace, damping=dampings[0], tolerance=1e-10)]
    spent = len(products)
    grid += [
        if_cg.attribute(network, workspace, damping=damping, tolerance=1e-10) for damping in dampings[1:]
    ]
    assert len(products) == spent
    for damping, scores in zip(dampings, grid, strict=True):
        alone = if_cg.attribute(network, Workspace(), damping=damping, tolerance=1e-10)
        torch.testing.assert_close(alone, scores, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("n", [30, 10])
def test_self_influence_is_the_diagonal_of_the_scores_on_minus_loss(n: int) -> None:
    world = mlp_world(n=n, n_classes=None)
    world = world.at_queries(world.x_train, world.y_train)
    scores = if_exact.attribute(world.network(), Workspace(), damping=0.5)
    own = self_influence(if_exact, world.network(), Workspace(), damping=0.5)
    torch.testing.assert_close(own, scores.diagonal())


def test_self_influence_of_a_classifier_is_that_of_its_loss() -> None:
    world = mlp_world()
    world = world.at_queries(world.x_train, world.y_train)
    margins = if_exact.attribute(world.network(), Workspace()).diagonal()
    own = self_influence(if_exact, world.network(), Workspace())
    torch.testing.assert_close(own, margins * world.loss_weight)


def test_a_matrix_that_is_too_large_is_refused_with_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(if_exact, "MAX_DIMENSION", 40)
    with pytest.raises(UserError, match="smaller of 43 parameters and 90 example rows exceeds 40"):
        if_exact.attribute(mlp_world().network(), Workspace())


def test_unfinished_conjugate_gradients_warn() -> None:
    with pytest.warns(UserWarning, match=r"residual .* after 1 iterations, not 0\.01: raise 'iterations'"):
        if_cg.attribute(mlp_world().network(), Workspace(), iterations=1)

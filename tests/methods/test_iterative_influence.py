"""LiSSA, Arnoldi and DataInf against dense float64 linear algebra."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from features.models import build, target_gradients
from methods.fakes import Checkpoints, Curvature, linear_world, mlp_world, self_influence
from oracles.influence import mean_of_inverses
from proponent.errors import UserError
from proponent.features.gradients.dense_gradients import DenseGradients
from proponent.features.views import GradientPair
from proponent.methods.influence import datainf, if_arnoldi, if_exact, if_lissa
from proponent.methods.shared.solvers.lanczos import eigenpairs, largest_eigenvalue
from proponent.methods.shared.workspace import Workspace
from proponent.settings.tasks import Classification


def symmetric(values: Tensor) -> Tensor:
    vectors = torch.linalg.qr(torch.randn(len(values), len(values), dtype=torch.float64))[0]
    return vectors @ values.diag() @ vectors.T


def start(size: int) -> Tensor:
    return torch.randn(1, size, generator=torch.Generator().manual_seed(0)).double()


# Arnoldi


def test_as_many_products_as_dimensions_give_all_eigenpairs() -> None:
    torch.manual_seed(0)
    values = torch.tensor([5.0, 2.0, 1.0, 0.5, 0.1, -0.3], dtype=torch.float64)
    matrix = symmetric(values)
    pairs = eigenpairs(lambda rows: rows @ matrix, start(6), 10)
    found, vectors = pairs.values, pairs.vectors
    torch.testing.assert_close(found, values)
    torch.testing.assert_close(vectors.T @ found.diag() @ vectors, matrix)


def test_no_eigenvalue_is_found_twice() -> None:
    """Without full orthogonalisation, rounding would produce many copies of the largest eigenvalue."""
    torch.manual_seed(0)
    values = torch.cat([torch.tensor([1e4]), torch.rand(99)]).double()
    matrix = symmetric(values)
    pairs = eigenpairs(lambda rows: rows @ matrix, start(100), 60)
    found, vectors = pairs.values, pairs.vectors
    residuals = (vectors @ matrix - found[:, None] * vectors).norm(dim=1)
    torch.testing.assert_close(pairs.residuals, residuals)
    assert (found > 2).sum() == 1
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(60, dtype=torch.float64))


def test_a_low_rank_matrix_exhausts_the_space() -> None:
    torch.manual_seed(0)
    matrix = symmetric(torch.tensor([3.0, 1.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64))
    found = eigenpairs(lambda rows: rows @ matrix, start(6), 6).values
    assert len(found) == 3, "two eigenvectors, and the rest of the start vector"
    torch.testing.assert_close(found[:2], torch.tensor([3.0, 1.0], dtype=torch.float64))


def test_the_largest_eigenvalue_is_the_largest_in_absolute_value() -> None:
    torch.manual_seed(0)
    matrix = symmetric(torch.cat([torch.tensor([-7.0]), torch.rand(49)]).double())
    assert largest_eigenvalue(lambda rows: rows @ matrix, start(50)) == pytest.approx(7.0)


def test_arnoldi_in_full_is_exact_except_for_directions_without_curvature() -> None:
    world = mlp_world(n=30)
    found = if_arnoldi.attribute(world.network(), Workspace(), iterations=43, rank=43, damping=0.5)
    expected = if_exact.attribute(world.network(), Workspace(), damping=0.5)
    model = Curvature(world)
    values, vectors = torch.linalg.eigh(model.ggn())
    inside = vectors[:, values > 10 * torch.finfo(values.dtype).eps * values.max()]
    shift = world.weight_decay + 0.5 / world.duration
    rest = torch.eye(43, dtype=torch.float64) - inside @ inside.T
    dropped = model.query.values @ rest @ model.train.values.T / shift
    expected = expected - dropped * model.loss_weight / model.n_train
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_arnoldi_keeps_the_leading_eigenvectors() -> None:
    world = mlp_world(n=30)
    model = Curvature(world)
    values, vectors = torch.linalg.eigh(model.ggn())
    values, vectors = values[-4:], vectors[:, -4:]
    shift = world.weight_decay + 1 / world.duration
    inner = (model.query.values @ vectors / (values + shift)) @ (model.train.values @ vectors).T
    found = if_arnoldi.attribute(world.network(), Workspace(), iterations=43, rank=4)
    torch.testing.assert_close(found, inner * model.loss_weight / model.n_train, rtol=1e-5, atol=1e-8)


def test_arnoldi_refuses_more_vectors_than_products() -> None:
    with pytest.raises(UserError, match="rank 30 exceeds iterations 20: raise the latter"):
        if_arnoldi.attribute(mlp_world().network(), Workspace(), rank=30, iterations=20)


def test_arnoldi_serves_a_grid_with_one_space(monkeypatch: pytest.MonkeyPatch) -> None:
    products = []
    original = Curvature.ggn_product
    monkeypatch.setattr(
        Curvature,
        "ggn_product",
        lambda self, rows, examples=None, count=0: products.append(1) or original(self, rows),
    )
    network, workspace = mlp_world().network(), Workspace()
    for damping in (0.5, 1.0, 2.0):
        if_arnoldi.attribute(network, workspace, damping=damping, iterations=30)
    assert len(products) <= 30


# LiSSA


def test_lissa_on_all_examples_ends_at_the_dense_inverse() -> None:
    world = mlp_world(n=30)
    found = if_lissa.attribute(world.network(), Workspace(), damping=10.0, depth=600, batch=30)
    exact = if_exact.attribute(world.network(), Workspace(), damping=10.0)
    torch.testing.assert_close(found, exact, rtol=1e-8, atol=1e-10)


@pytest.mark.slow
def test_lissa_on_batches_is_near_it_and_seeded() -> None:
    world = linear_world(n=40, d=4, n_classes=3)
    options = {"damping": 1.0, "depth": 100, "batch": 20}
    exact = if_exact.attribute(world.network(), Workspace(), damping=1.0)
    found = if_lissa.attribute(world.network(), Workspace(), **options, repeats=2)
    assert torch.corrcoef(torch.stack([found.flatten(), exact.flatten()]))[0, 1] > 0.99
    assert not torch.allclose(found, exact, rtol=1e-6)
    once, again, other = (
        if_lissa.attribute(world.network(), Workspace(), **options, seed=seed) for seed in (0, 0, 1)
    )
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_a_recursion_that_diverges_is_an_error() -> None:
    with pytest.raises(UserError, match=r"diverged within \d+ steps: raise 'scale' or 'batch'"):
        if_lissa.attribute(mlp_world(n=30).network(), Workspace(), scale=0.3)


def test_a_recursion_that_stops_too_early_warns() -> None:
    with pytest.warns(UserWarning, match=r"median residual is 0\.\d+ after 5 steps: raise 'depth'"):
        if_lissa.attribute(mlp_world(n=30).network(), Workspace(), depth=5)


def test_a_product_over_some_examples_is_that_of_a_smaller_training_set() -> None:
    world = mlp_world(n=12)
    some = torch.tensor([3, 1, 7])
    model = Curvature(world)
    few = Curvature(replace(world, x_train=world.x_train[some], y_train=world.y_train[some]))
    vectors = torch.randn(2, 43, dtype=torch.float64)
    torch.testing.assert_close(model.ggn_product(vectors, some), vectors @ few.ggn())


# DataInf


@pytest.mark.parametrize("damping", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("n", [1, 30])
def test_datainf_is_the_mean_of_inverses(n: int, damping: float) -> None:
    """With one example it is the damped empirical Fisher matrix itself (Sherman & Morrison)."""
    world = mlp_world(n=n)
    pair = world.pair()
    expected = torch.zeros(())
    for train, query in zip(pair.train.by_layer(), pair.query.by_layer(), strict=True):
        losses = -pair.loss_weight[:, None] * train.values
        shift = (damping * (losses**2).mean()).item()
        expected = expected - query.values @ mean_of_inverses(losses, shift) @ losses.T / n
    torch.testing.assert_close(datainf.attribute(world.gradients(), damping=damping), expected)


def test_datainf_of_a_projection_is_one_layer() -> None:
    module, x, y = build("mlp", 9)
    train, outputs = target_gradients(module, Classification(), x, y)
    projected = train.project(16, "rademacher", 0)
    assert len(train.by_layer()) == 2
    assert len(projected.by_layer()) == 1
    weight = Classification().loss_weight(outputs, y)
    scores = datainf.attribute(
        Checkpoints({1.0: GradientPair(projected, projected, weight, weight, 0.1, 1.0)})
    )
    dense = DenseGradients(projected.values, {"all": (16,)}, ())
    same = datainf.attribute(Checkpoints({1.0: GradientPair(dense, dense, weight, weight, 0.1, 1.0)}))
    torch.testing.assert_close(scores, same)


def test_datainf_self_influence_is_the_diagonal_of_the_scores_on_minus_loss() -> None:
    world = mlp_world(n_classes=None)
    world = world.at_queries(world.x_train, world.y_train)
    scores = datainf.attribute(world.gradients())
    torch.testing.assert_close(self_influence(datainf, world.gradients()), scores.diagonal())
    world = mlp_world()
    world = world.at_queries(world.x_train, world.y_train)
    margins = datainf.attribute(world.gradients()).diagonal()
    torch.testing.assert_close(self_influence(datainf, world.gradients()), margins * world.loss_weight)


def test_layers_of_a_block_add_up() -> None:
    for name in ("mlp", "encoder-layer", "tied"):
        module, x, y = build(name, 5)
        block, _ = target_gradients(module, Classification(), x, y)
        layers = block.by_layer()
        torch.testing.assert_close(sum(layer.inner(layer) for layer in layers), block.inner(block))
        assert sum(layer.n_parameters for layer in layers) == block.n_parameters
        written = DenseGradients(block.dense(), block.parameters, ())
        torch.testing.assert_close(
            sum(layer.inner(layer) for layer in written.by_layer()), block.inner(block)
        )

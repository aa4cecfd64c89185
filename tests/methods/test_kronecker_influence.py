"""K-FAC, EK-FAC and RelatIF against dense inverses in float64, on dense fakes and on the features engine."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from features.models import build
from methods.fakes import Checkpoints, World, linear_world, mlp_world, self_influence
from methods.fakes import Curvature as Dense
from oracles.influence import dense_influence
from proponent.features.curvature.member_curvature import Curvature
from proponent.methods.influence import ekfac, if_exact
from proponent.methods.shared.workspace import Workspace
from proponent.settings.tasks import Classification


def blocks(world: World, eigenvalues: str) -> tuple[Dense, list[slice], Tensor]:
    """Return the dense curvature, the spans of its layers, and its block-diagonal matrix from basis and eigenvalues."""
    model = Dense(world)
    basis = model.kronecker(0, 0)
    values = basis.eigenvalues if eigenvalues == "corrected" else basis.factored
    return model, list(basis.spans), basis.basis @ values.diag() @ basis.basis.T


def damped(world: World, matrix: Tensor, spans: list[slice], damping: float) -> Tensor:
    """Return the matrix plus weight decay and ``damping`` times the mean eigenvalue of each layer's block."""
    shift = torch.full((len(matrix),), world.weight_decay, dtype=matrix.dtype)
    for span in spans:
        shift[span] += damping * matrix[span, span].trace() / len(shift[span])
    return matrix + shift.diag()


@pytest.mark.parametrize("eigenvalues", ["corrected", "product"])
@pytest.mark.parametrize("damping", [0.1, 1.0, 10.0])
def test_scores_are_those_of_the_dense_inverse(eigenvalues: str, damping: float) -> None:
    world = mlp_world()
    model, spans, matrix = blocks(world, eigenvalues)
    losses = -model.loss_weight[:, None] * model.train.values
    expected = dense_influence(model.query.values, losses, damped(world, matrix, spans, damping), 0.0)
    found = ekfac.attribute(world.network(), Workspace(), eigenvalues=eigenvalues, damping=damping)
    torch.testing.assert_close(found, expected)


def test_on_a_gaussian_linear_model_all_are_exact() -> None:
    world = linear_world(n=20, d=4, n_classes=None)
    exact = if_exact.attribute(world.network(), Workspace(), damping=0.3)
    for eigenvalues in ("corrected", "product"):
        _, _, matrix = blocks(world, eigenvalues)
        same = 0.3 / world.duration / (matrix.trace() / len(matrix)).item()
        found = ekfac.attribute(world.network(), Workspace(), damping=same, eigenvalues=eigenvalues)
        torch.testing.assert_close(found, exact)


@pytest.mark.parametrize("relative", ["loss", "parameter"])
def test_relative_influence_divides_by_the_size_of_the_examples_own_effect(relative: str) -> None:
    world = mlp_world()
    model, spans, matrix = blocks(world, "corrected")
    inverse = torch.linalg.inv(damped(world, matrix, spans, 1.0))
    losses = -model.loss_weight[:, None] * model.train.values
    lengths = (
        ((losses @ inverse) * losses).sum(1).sqrt() if relative == "loss" else (losses @ inverse).norm(dim=1)
    )
    found = ekfac.attribute(world.network(), Workspace(), relative=relative)
    torch.testing.assert_close(found, -model.query.values @ inverse @ losses.T / lengths)


@pytest.mark.parametrize("relative", ["none", "loss", "parameter"])
def test_self_influence_is_the_diagonal_of_the_scores_on_minus_loss(relative: str) -> None:
    world = mlp_world(n_classes=None)
    world = world.at_queries(world.x_train, world.y_train)
    scores = ekfac.attribute(world.network(), Workspace(), relative=relative)
    torch.testing.assert_close(
        self_influence(ekfac, world.network(), Workspace(), relative=relative), scores.diagonal()
    )
    classes = mlp_world()
    classes = classes.at_queries(classes.x_train, classes.y_train)
    margins = ekfac.attribute(classes.network(), Workspace(), relative=relative).diagonal()
    own = self_influence(ekfac, classes.network(), Workspace(), relative=relative)
    torch.testing.assert_close(own, margins * classes.loss_weight)


@pytest.mark.parametrize("name", ["linear", "sequence", "conv2d", "embedding", "attention", "layer-norm"])
def test_on_the_engine_each_kind_of_layer_is_its_block(name: str) -> None:
    """The score of each kind of layer is that of a dense inverse in the coordinates of the engine's basis."""
    module, x, y = build(name, 12)
    model = Curvature(module, Classification(), x[:9], y[:9], x[9:], y[9:], weight_decay=0.01, duration=5.0)
    network = Checkpoints({1.0: model})
    basis = model.kronecker(0, 0)
    train, query = basis.rotate(model.train).dense(), basis.rotate(model.query).dense()
    root = basis.rotate(model.ggn_root()).dense()
    diagonal = (root.T @ root / 9).diagonal()
    shifted = diagonal + 0.01
    for span in basis.spans:
        shifted[span] += diagonal[span].mean()
    expected = dense_influence(query, -model.loss_weight[:, None] * train, shifted.diag(), 0.0)
    torch.testing.assert_close(ekfac.attribute(network, Workspace()), expected)


def test_engine_and_dense_fake_agree_on_a_network() -> None:
    world = mlp_world(n=20)
    first, second = nn.Linear(4, 5), nn.Linear(5, 3)
    module = nn.Sequential(first, nn.Tanh(), second).double()
    with torch.no_grad():
        weights = world.theta[:25].reshape(5, 5), world.theta[25:].reshape(3, 6)
        for layer, weight in zip((first, second), weights, strict=True):
            layer.weight.copy_(weight[:, :-1])
            layer.bias.copy_(weight[:, -1])
    data = (world.x_train, world.y_train, world.x_query, world.y_query)
    options = {"weight_decay": world.weight_decay, "duration": world.duration}
    engine = Checkpoints({1.0: Curvature(module, Classification(), *data, **options)})
    for params in ({"eigenvalues": "product"}, {}, {"relative": "loss"}, {"damping": 0.1}):
        expected = ekfac.attribute(world.network(), Workspace(), **params)
        torch.testing.assert_close(
            ekfac.attribute(engine, Workspace(), **params), expected, rtol=1e-6, atol=1e-9
        )


def test_many_outputs_are_sampled_and_few_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    original = Dense.kronecker
    monkeypatch.setattr(
        Dense, "kronecker", lambda self, samples, seed: asked.append(samples) or original(self, samples, seed)
    )
    for outputs in (3, 33):
        world = mlp_world(n=5, n_classes=outputs, steps=1)
        ekfac.attribute(world.network(), Workspace(), samples=2)
    assert asked == [0, 2]


def test_a_side_that_is_too_wide_is_named_in_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proponent.features.curvature.kronecker_factors.MAX_SIDE", 5)
    module, x, y = build("mlp", 8)
    model = Curvature(module, Classification(), x, y, x[:2], y[:2], weight_decay=0.0, duration=1.0)
    with pytest.warns(
        UserWarning, match=r"a side of 1\.weight, 3\.weight is too wide to diagonalise and keeps its own axes"
    ):
        ekfac.attribute(Checkpoints({1.0: model}), Workspace())


def test_a_grid_of_dampings_shares_one_basis(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = Dense.kronecker
    monkeypatch.setattr(
        Dense, "kronecker", lambda self, samples, seed: made.append(1) or original(self, samples, seed)
    )
    network, workspace = mlp_world().network(), Workspace()
    for damping in (0.03, 0.1, 0.3):
        ekfac.attribute(network, workspace, damping=damping)
        ekfac.attribute(network, workspace, damping=damping, eigenvalues="product")
    assert len(made) == 1

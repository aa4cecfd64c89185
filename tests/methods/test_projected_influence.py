"""LoGra, GraSS, FactGraSS and TrackStar against explicit matrices in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from features.models import build
from methods.fakes import Checkpoints, mlp_world, self_influence
from methods.fakes import Curvature as Dense
from oracles.influence import dense_influence
from proponent.features.curvature.member_curvature import Curvature
from proponent.methods.projected_influence import grass, logra, trackstar
from proponent.methods.shared.fisher import fisher_bases
from proponent.methods.shared.workspace import Workspace
from proponent.seeds import derive_seed
from proponent.settings.tasks import Classification


def fisher_influence(model: Dense, spans: list[slice], damping: float) -> Tensor:
    """Return the influence with the empirical Fisher matrix of each span, damped in units of its mean eigenvalue."""
    total = torch.zeros(())
    for span in spans:
        losses = -model.loss_weight[:, None] * model.train.values[:, span]
        matrix = losses.T @ losses / len(losses)
        shift = (damping * matrix.trace() / len(matrix)).item()
        total = total + dense_influence(model.query.values[:, span], losses, matrix, shift)
    return total


def fisher_products(model: Dense, rows: Tensor, spans: list[slice], damping: float) -> Tensor:
    """Return the products of ``rows`` in the metric of the inverse of each span's damped empirical Fisher matrix."""
    total = torch.zeros(())
    for span in spans:
        losses = -model.loss_weight[:, None] * model.train.values[:, span]
        matrix = losses.T @ losses / len(losses)
        matrix += damping * matrix.trace() / len(matrix) * torch.eye(len(matrix), dtype=matrix.dtype)
        total = total + rows[:, span] @ torch.linalg.solve(matrix, rows[:, span].T)
    return total


LAYERS, WHOLE = [slice(0, 25), slice(25, 43)], [slice(0, 43)]


@pytest.mark.parametrize("damping", [0.1, 1.0])
def test_without_a_projection_it_is_empirical_fisher_influence(damping: float) -> None:
    network = mlp_world().network()
    model = network.at(1.0)
    torch.testing.assert_close(
        logra.attribute(network, Workspace(), damping=damping), fisher_influence(model, LAYERS, damping)
    )
    torch.testing.assert_close(
        grass.attribute(network, Workspace(), damping=damping), fisher_influence(model, WHOLE, damping)
    )
    torch.testing.assert_close(
        grass.attribute(network, Workspace(), factored=True, damping=damping),
        fisher_influence(model, LAYERS, damping),
    )
    # TrackStar is the cosine in the same metric: influence without loss weights, over the lengths of both gradients
    everything = torch.cat([model.query.values, model.train.values])
    inner = fisher_products(model, everything, LAYERS, damping)
    cosines = inner / (inner.diagonal()[:, None] * inner.diagonal()).sqrt()
    found = trackstar.attribute(network, Workspace(), second_moment="none", damping=damping)
    torch.testing.assert_close(found, cosines[: len(found), len(found) :])


def engine(name: str, n: int = 14) -> tuple[Checkpoints, Curvature]:
    module, x, y = build(name, n)
    model = Curvature(
        module, Classification(), x[:-3], y[:-3], x[-3:], y[-3:], weight_decay=0.0, duration=5.0
    )
    return Checkpoints({1.0: model}), model


@pytest.mark.parametrize("name", ["mlp", "sequence", "conv2d", "embedding", "encoder-layer"])
@pytest.mark.parametrize("method", ["logra", "grass", "factgrass"])
def test_on_the_engine_it_is_influence_on_projected_gradients(name: str, method: str) -> None:
    network, model = engine(name)
    if method == "logra":
        found = logra.attribute(network, Workspace(), side=3, damping=0.5)
        stream = derive_seed(0, "logra", 0)
        sketch = [block.project_sides(3, "gaussian", stream) for block in (model.train, model.query)]
    else:
        factored = method == "factgrass"
        found = grass.attribute(network, Workspace(), factored=factored, dim=8, blowup=2, damping=0.5)
        stream = derive_seed(0, "grass", 0)
        sketch = [
            block.project_sides(4, "mask", stream) if factored else [block.mask(16, stream)]
            for block in (model.train, model.query)
        ]
        sketch = [
            [layer.project(8, "sparse", stream) if layer.n_parameters > 8 else layer for layer in side]
            for side in sketch
        ]
    expected = torch.zeros(())
    for train, query in zip(*sketch, strict=True):
        losses = -model.loss_weight[:, None] * train.dense()
        matrix = losses.T @ losses / len(losses)
        shift = (0.5 * matrix.trace() / len(matrix)).item()
        expected = expected + dense_influence(query.dense(), losses, matrix, shift)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("method", [logra, grass])
def test_self_influence_is_the_diagonal_of_the_scores_on_minus_loss(method) -> None:
    world = mlp_world(n_classes=None)
    world = world.at_queries(world.x_train, world.y_train)
    torch.testing.assert_close(
        self_influence(method, world.network(), Workspace()),
        method.attribute(world.network(), Workspace()).diagonal(),
    )
    world = mlp_world()
    world = world.at_queries(world.x_train, world.y_train)
    margins = method.attribute(world.network(), Workspace()).diagonal()
    own = self_influence(method, world.network(), Workspace())
    torch.testing.assert_close(own, margins * world.loss_weight)


def test_members_and_seeds_have_projections_of_their_own() -> None:
    network, _ = engine("mlp")
    for method, options in ((logra, {"side": 2}), (grass, {"dim": 8, "blowup": 2}), (trackstar, {"side": 2})):
        first, again, other = (
            method.attribute(network, Workspace(), **options, seed=seed) for seed in (0, 0, 1)
        )
        assert torch.equal(first, again)
        assert not torch.allclose(first, other)
        network.member = 1
        assert not torch.allclose(first, method.attribute(network, Workspace(), **options))
        network.member = 0


# TrackStar


def test_trackstar_is_a_cosine() -> None:
    world = mlp_world()
    world = world.at_queries(world.x_train, world.y_train)
    scores = trackstar.attribute(world.network(), Workspace())
    torch.testing.assert_close(scores.diagonal(), torch.ones(30, dtype=torch.float64))
    assert scores.abs().max() <= 1 + 1e-9


def test_the_root_of_the_mean_outer_product_whitens() -> None:
    model = mlp_world(n=60).network().at(1.0)
    (layer,) = fisher_bases([model.train.by_layer()[1]], model.loss_weight)
    kept = layer.values > 1e-6 * layer.values.max()
    losses = (model.loss_weight[:, None] * layer.train)[:, kept] * layer.values[kept].rsqrt()
    identity = torch.eye(int(kept.sum()), dtype=torch.float64)
    torch.testing.assert_close(losses.T @ losses / 60, identity, rtol=1e-6, atol=1e-6)


def test_mixing_adds_the_outer_products_of_the_queries() -> None:
    model = mlp_world().network().at(1.0)
    layers = fisher_bases(model.train.by_layer(), model.loss_weight, model.query.by_layer(), mixing=0.9)
    for layer, train, query in zip(layers, model.train.by_layer(), model.query.by_layer(), strict=True):
        losses = model.loss_weight[:, None] * train.values
        outer = 0.1 * losses.T @ losses / 30 + 0.9 * query.values.T @ query.values / len(query)
        torch.testing.assert_close(layer.values, torch.linalg.eigvalsh(outer).clamp_min(0))


def test_the_second_moment_makes_scores_independent_of_the_scale_of_a_parameter() -> None:
    """Without a projection, a rescaled parameter changes nothing, whatever the damping."""
    world = mlp_world()
    scale = torch.linspace(0.5, 2.0, 43, dtype=torch.float64)
    plain, rescaled = world.network(), world.network()
    for block in (rescaled.at(1.0).train, rescaled.at(1.0).query):
        block.values = block.values * scale
    for damping in (0.1, 1.0):
        expected = trackstar.attribute(plain, Workspace(), damping=damping)
        torch.testing.assert_close(trackstar.attribute(rescaled, Workspace(), damping=damping), expected)
        off = trackstar.attribute(rescaled, Workspace(), damping=damping, second_moment="none")
        assert not torch.allclose(
            off, trackstar.attribute(plain, Workspace(), damping=damping, second_moment="none")
        )

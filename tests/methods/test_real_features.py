"""Methods give the same scores on the features engine as on the dense fakes, for every kind of layer."""

from __future__ import annotations

import inspect
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from features.models import build, target_gradients
from methods.fakes import Checkpoints, World, self_influence
from proponent.attribution.member_mean import MemberMean
from proponent.features.curvature.member_curvature import Curvature
from proponent.features.views import GradientPair
from proponent.methods.gradient_similarity import graddot, tracin
from proponent.methods.influence import datainf, if_arnoldi, if_cg, if_exact, if_lissa
from proponent.methods.shared.workspace import Workspace
from proponent.methods.trak import trak
from proponent.settings.tasks import Classification

N_TRAIN, N_QUERY = 12, 3
LAYERS = (
    *("linear", "mlp", "conv1d", "conv2d", "embedding"),
    *("layer-norm", "group-norm", "attention", "encoder-layer"),
)


def world_of(module: nn.Module, x: Tensor, y: Tensor) -> World:
    """Return the module as a function of one flat vector of parameters, the last layer's last."""
    torch.backends.mha.set_fastpath_enabled(False)
    shapes = {name: parameter.shape for name, parameter in module.named_parameters()}
    sizes = [shape.numel() for shape in shapes.values()]

    def forward(theta: Tensor, one: Tensor) -> Tensor:
        parts = [part.reshape(shape) for part, shape in zip(theta.split(sizes), shapes.values(), strict=True)]
        with sdpa_kernel(SDPBackend.MATH):  # the other kernels have no second derivatives
            return functional_call(module.eval(), dict(zip(shapes, parts, strict=True)), (one[None],))[0]

    theta = torch.cat([parameter.detach().flatten() for parameter in module.parameters()])
    split = (x[:N_TRAIN], y[:N_TRAIN], x[N_TRAIN:], y[N_TRAIN:])
    return World(forward, forward, sum(sizes[-2:]), theta, *split, weight_decay=0.01)


@pytest.fixture(scope="module", params=LAYERS)
def both(request: pytest.FixtureRequest) -> tuple[World, Checkpoints, Checkpoints]:
    """The dense world, and the engine's gradients and curvature of the same model."""
    module, x, y = build(request.param, N_TRAIN + N_QUERY)
    world = world_of(module, x, y)
    task = Classification()
    data = (world.x_train, world.y_train, world.x_query, world.y_query)
    options = {"weight_decay": world.weight_decay, "duration": world.duration}
    curvature = Curvature(module, task, *data, **options)
    query, _ = target_gradients(module, task, *data[2:], 100)
    train, outputs = target_gradients(module, task, *data[:2], 100)
    weight = task.loss_weight(outputs, world.y_train)
    pair = GradientPair(train, query, weight, weight * (1 - weight), world.learning_rate, world.duration)
    return world, Checkpoints({1.0: pair}), Checkpoints({1.0: curvature})


GRADIENT_METHODS = {
    "graddot": (graddot, {}),
    "gradcos": (graddot, {"normalise": True}),
    "tracin": (tracin, {}),
    "tracin-last": (tracin, {"layers": "last"}),
    "trak": (trak, {}),
    "trak with full weighting": (trak, {"weighting": "full", "damping": 0.3}),
}
CURVATURE_METHODS = {
    "if-exact": (if_exact, {}),
    "if-cg": (if_cg, {"tolerance": 1e-9}),
    "if-arnoldi": (if_arnoldi, {"iterations": 200, "rank": 6}),
    "if-lissa": (if_lissa, {"batch": N_TRAIN, "depth": 20}),  # the same series, converged or not
}


def combined(result: Tensor | tuple[Tensor, ...]) -> Tensor:
    mean = MemberMean()
    mean.add(result)
    return mean.scores()


def needs(module: ModuleType, features: Checkpoints) -> list[object]:
    """Return the features, and a workspace where the method lists one among its needs."""
    listed = "workspace" in inspect.signature(module.attribute).parameters
    return [features, Workspace()] if listed else [features]


@pytest.mark.parametrize("name", GRADIENT_METHODS)
def test_gradient_methods(name: str, both: tuple[World, Checkpoints, Checkpoints]) -> None:
    world, gradients, _ = both
    module, params = GRADIENT_METHODS[name]
    found, expected = (
        combined(module.attribute(*needs(module, path), **params)) for path in (gradients, world.gradients())
    )
    torch.testing.assert_close(found, expected)
    found, expected = (
        combined(self_influence(module, *needs(module, path), **params))
        for path in (gradients, world.gradients())
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", CURVATURE_METHODS)
def test_curvature_methods(name: str, both: tuple[World, Checkpoints, Checkpoints]) -> None:
    world, _, network = both
    module, params = CURVATURE_METHODS[name]
    found, expected = (module.attribute(path, Workspace(), **params) for path in (network, world.network()))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    if hasattr(module, "self_influence"):
        found, expected = (
            self_influence(module, path, Workspace(), **params) for path in (network, world.network())
        )
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_datainf_inverts_the_layers_of_every_kind(both: tuple[World, Checkpoints, Checkpoints]) -> None:
    """The scores follow from the definition, with the engine's layers as dense matrices: a mean of dense inverses."""
    _, gradients, _ = both
    pair = gradients.at(1.0)
    expected = torch.zeros(N_QUERY, N_TRAIN, dtype=torch.float64)
    for train, query in zip(pair.train.by_layer(), pair.query.by_layer(), strict=True):
        losses = -pair.loss_weight[:, None] * train.dense()
        shift = 0.1 * losses.square().mean()
        identity = torch.eye(losses.shape[1], dtype=torch.float64)
        inverse = torch.stack([torch.linalg.inv(torch.outer(g, g) + shift * identity) for g in losses])
        expected -= query.dense() @ inverse.mean(0) @ losses.T / N_TRAIN
    torch.testing.assert_close(datainf.attribute(gradients, damping=0.1), expected)

"""Every engine and kind of method on a device, against the same in double precision on the CPU.

On a machine without a GPU the CPU's own single precision is what is compared, so that the tests themselves are known to run;
the GPU's are skipped there by name. ``make test-gpu`` runs them. Tolerances are relative: the norm of the difference over
that of the reference. They are looser where rounding grows: along training, and in solves of ill-conditioned systems.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from proponent.config.recipe_schema import Optimizer, RecipeConfig
from proponent.features.gradients.capture import Capture, target_cotangents
from proponent.features.member_features import (
    featurize,
    read_gradients,
    read_outputs,
    read_representations,
)
from proponent.features.member_network import NetworkReader
from proponent.features.views import CheckpointTimes
from proponent.methods.baselines import similarity
from proponent.methods.gradient_similarity import graddot, tracin
from proponent.methods.influence import datainf, ekfac, if_cg, if_exact
from proponent.methods.shared.workspace import Workspace
from proponent.methods.trak import trak
from proponent.settings.split import Arrays
from proponent.settings.tasks import get_task
from proponent.training.designs import Run
from proponent.training.lockstep import train
from proponent.training.memory import models_that_fit

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
DEVICES = ["cpu", pytest.param("cuda", marks=needs_cuda)]
TIMES = CheckpointTimes([10], [0.1], [1.0])
TASK = get_task("classification")


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def convolutional() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(24, 3)
    )


MODELS = {"mlp": mlp, "convolutional": convolutional}


def arrays(device: str, dtype: torch.dtype) -> Arrays:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(40, 6, generator=generator).to(device, dtype)
    y = torch.randint(0, 3, (40,), generator=generator).to(device)
    return Arrays(x[:30], y[:30], x[30:], y[30:])


def assert_agree(found: Tensor, reference: Tensor, tolerance: float) -> None:
    assert found.shape == reference.shape
    difference = (found.detach().cpu().double() - reference).norm() / reference.norm()
    assert difference < tolerance, f"{difference:.1e}"


# Training


def runs() -> list[Run]:
    mask = torch.arange(30) % 2 == 0
    return [Run(1, 2), Run(3, 4, mask), Run(5, 6, mask, by_weight=True)]


def trained(device: str, dtype: torch.dtype, optimizer: Optimizer, dropout: float) -> Tensor:
    def build(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        layers = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 3))
        return layers.to(dtype)

    data = arrays("cpu", dtype)
    recipe = RecipeConfig(optimizer=optimizer, lr=0.02, batch_size=8, epochs=10)
    result = train(build, data.x_train, data.y_train, TASK, recipe, runs(), lockstep=2, device=device)
    assert not result.diverged
    assert all(value.device.type == torch.device(device).type for value in result.state.values())
    return torch.cat([value.flatten(1).cpu() for value in result.state.values()], 1)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("optimizer", list(Optimizer))
def test_lockstep_training(device, optimizer, dropout):
    reference = trained("cpu", torch.float64, optimizer, dropout)
    assert_agree(trained(device, torch.float32, optimizer, dropout), reference.double(), 1e-3)


@needs_cuda
def test_a_device_trains_to_the_same_bytes_again():
    once, again = (trained("cuda", torch.float32, Optimizer.adam, 0.3) for _ in range(2))
    assert torch.equal(once, again)


def test_devices_of_one_kind_agree():
    """To a relative difference of 1e-6: no more than the order of additions."""
    if torch.cuda.device_count() < 2:
        pytest.skip("fewer than two CUDA devices on this machine")
    if torch.cuda.get_device_name(0) != torch.cuda.get_device_name(1):
        pytest.skip("the first two CUDA devices are of different kinds")
    first, second = (
        trained(f"cuda:{index}", torch.float32, Optimizer.adam, 0.3).double() for index in range(2)
    )
    assert_agree(second, first, 1e-6)


@needs_cuda
def test_as_many_models_are_trained_at_a_time_as_the_device_holds():
    def build(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(512, 2048), nn.ReLU(), nn.Linear(2048, 10))

    x, y = torch.randn(256, 512), torch.randint(0, 10, (256,))
    recipe = RecipeConfig(lr=0.01, momentum=0.9, batch_size=128, epochs=2)
    seeds = [Run(seed, seed) for seed in range(64)]
    room = 2**30
    fits = models_that_fit(build, x, y, TASK, recipe, seeds, room, device="cuda")
    assert 1 < fits < 64, "the arithmetic is what decides"
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    train(build, x, y, TASK, recipe, seeds, lockstep=fits, device="cuda")
    assert torch.cuda.max_memory_allocated() - before < room


# Engines


def gradients_of(model: str, device: str, dtype: torch.dtype):
    data = arrays(device, dtype)
    capture = Capture(MODELS[model]().to(device, dtype), data.x_train[:1])
    cotangents = target_cotangents(TASK)
    train_block, _ = capture.all_gradients(data.x_train, data.y_train, cotangents, 64)
    query_block, _ = capture.all_gradients(data.x_query, data.y_query, cotangents, 64)
    return train_block, query_block


GRADIENT_ENGINES: dict[str, Callable] = {
    "written out": lambda train, query: train.dense(),
    "gram": lambda train, query: train.inner(train),
    "cross": lambda train, query: query.inner(train),
    "norms": lambda train, query: train.norms_squared(),
    "last layer": lambda train, query: query.last_layer().inner(train.last_layer()),
    "sparse projection": lambda train, query: train.project(64, "sparse", 0).dense(),
    "rademacher projection": lambda train, query: train.project(64, "rademacher", 0).dense(),
    "gaussian projection": lambda train, query: train.project(64, "gaussian", 0).dense(),
    "mask": lambda train, query: train.mask(20, 0).dense(),
    "both sides": lambda train, query: torch.cat(
        [b.dense() for b in train.project_sides(3, "gaussian", 0)], 1
    ),
    "mean squares": lambda train, query: train.mean_squares(torch.ones_like(train.norms_squared())),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("engine", GRADIENT_ENGINES)
def test_gradients(device, model, engine):
    reference = GRADIENT_ENGINES[engine](*gradients_of(model, "cpu", torch.float64))
    found = GRADIENT_ENGINES[engine](*gradients_of(model, device, torch.float32))
    assert found.device.type == device
    assert_agree(found, reference, 1e-5)


def network_of(model: str, device: str, dtype: torch.dtype):
    module = MODELS[model]().to(device, dtype)
    state = {name: value.clone() for name, value in module.state_dict().items()}
    return NetworkReader(
        module, lambda index: state, TASK, arrays(device, dtype), 0, TIMES, weight_decay=0.01, memory_mib=64
    ).network()


def vectors(curvature) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    drawn = torch.randn(2, curvature.n_parameters, generator=generator)
    return drawn.to(curvature.loss_weight)


CURVATURE_ENGINES: dict[str, Callable] = {
    "ggn": lambda curvature: curvature.ggn(),
    "hessian": lambda curvature: curvature.hessian(),
    "ggn product": lambda curvature: curvature.ggn_product(vectors(curvature)),
    "hessian product": lambda curvature: curvature.hessian_product(vectors(curvature)),
    "ggn root": lambda curvature: curvature.ggn_root().inner(curvature.train),
    "kronecker": lambda curvature: curvature.kronecker(0, 0).eigenvalues.sort().values,
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("engine", CURVATURE_ENGINES)
def test_curvature(device, model, engine):
    reference = CURVATURE_ENGINES[engine](network_of(model, "cpu", torch.float64).at(1.0))
    found = CURVATURE_ENGINES[engine](network_of(model, device, torch.float32).at(1.0))
    assert found.device.type == device
    assert_agree(found, reference, 1e-4)


# Methods


def stored(kind: str, device: str, dtype: torch.dtype):
    """Features as they are stored and read again."""
    module = mlp().to(device, dtype)
    data = arrays(device, dtype)
    state = {name: value.clone() for name, value in module.state_dict().items()}
    tensors, description = featurize(kind, module, lambda index: state, 1, TASK, data, memory_mib=64)
    if kind == "outputs":
        return read_outputs(tensors.__getitem__, 0, TIMES)
    read = read_gradients if kind == "gradients" else read_representations
    return read(description, tensors.__getitem__, data, 0, TIMES)


def scores(found) -> Tensor:
    return found if isinstance(found, Tensor) else torch.stack([found[0] * found[1]])[0]


def similar(representations) -> Tensor:
    like = representations.at(1.0).train
    return similarity.attribute(arrays(like.device.type, like.dtype), representations)


def with_workspace(module: ModuleType, **params: object) -> Callable:
    """Return the method as a function of its features alone."""
    return lambda given: module.attribute(given, Workspace(), **params)


METHODS: dict[str, tuple[Callable, str, float]] = {
    "graddot": (graddot.attribute, "gradients", 1e-5),
    "gradcos": (lambda given: graddot.attribute(given, normalise=True), "gradients", 1e-5),
    "tracin": (tracin.attribute, "gradients", 1e-5),
    "trak": (with_workspace(trak), "gradients", 1e-3),
    "trak-projected": (with_workspace(trak, projection_dim=16), "gradients", 1e-3),
    "similarity": (similar, "representations", 1e-5),
    "if-exact": (with_workspace(if_exact), "network", 1e-3),
    "if-cg": (with_workspace(if_cg), "network", 1e-2),
    "ekfac": (with_workspace(ekfac), "network", 1e-3),
    "kfac": (with_workspace(ekfac, eigenvalues="product"), "network", 1e-3),
    "datainf": (datainf.attribute, "network", 1e-3),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("method", METHODS)
def test_methods(device, method):
    attribute, need, tolerance = METHODS[method]

    def given(on: str, dtype: torch.dtype):
        return network_of("mlp", on, dtype) if need == "network" else stored(need, on, dtype)

    reference = scores(attribute(given("cpu", torch.float64)))
    found = scores(attribute(given(device, torch.float32)))
    assert found.device.type == device
    assert_agree(found, reference, tolerance)


@pytest.mark.parametrize("device", DEVICES)
def test_outputs(device):
    reference, found = stored("outputs", "cpu", torch.float64), stored("outputs", device, torch.float32)
    assert_agree(found.at(1.0).train, reference.at(1.0).train, 1e-6)
    assert_agree(found.at(1.0).loss_weight, reference.at(1.0).loss_weight, 1e-5)

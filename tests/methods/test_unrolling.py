"""SOURCE, DVEmb, LESS and word embeddings against dense products, matrix exponentials and autograd, in float64."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from features.models import build
from methods.test_magic import RECIPES, RUN, TASK, arrays, network
from oracles.unrolling import embeddings
from proponent.config.recipe_schema import Optimizer, RecipeConfig
from proponent.errors import UserError
from proponent.features.curvature.member_curvature import Curvature
from proponent.features.member_network import NetworkReader
from proponent.features.views import CheckpointTimes
from proponent.features.views import Network as History
from proponent.methods.gradient_similarity import less, tracin_we
from proponent.methods.influence import ekfac
from proponent.methods.shared import segments
from proponent.methods.shared.needs import Network, Workspace
from proponent.methods.unrolling import dvemb, magic, source, source_adam
from proponent.settings.split import Arrays
from proponent.settings.tasks import get_task
from proponent.training.replay import Replay
from proponent.training.update import preconditioner

KINDS = ["linear", "sequence", "conv2d", "embedding", "attention", "layer-norm", "tied"]


def along_training(module: nn.Module, x: Tensor, y: Tensor, n_query: int, decay: float = 0.01) -> History:
    """Return a network with four random points as its checkpoints."""
    states = []
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        states.append(
            {
                name: value + 0.1 * torch.randn(value.shape, generator=generator, dtype=value.dtype)
                for name, value in module.state_dict().items()
            }
        )
    data = Arrays(x[n_query:], y[n_query:], x[:n_query], y[:n_query])
    times = CheckpointTimes([1, 2, 4, 8], [0.1] * 4, [0.5, 1.0, 2.0, 4.0])
    task = get_task("classification" if not y.is_floating_point() else "regression")
    return NetworkReader(
        module, lambda at: states[at], task, data, 0, times, weight_decay=decay, memory_mib=50
    ).network()


def loss_gradients(model: Curvature) -> Tensor:
    return -model.loss_weight[:, None] * model.train.dense()


# SOURCE


@pytest.mark.parametrize("name", KINDS)
def test_coordinates_are_inverted(name: str) -> None:
    module, x, y = build(name, 9)
    path = along_training(module, x, y, 3)
    basis = path.kronecker([0.2, 0.3, 0.5, 0.0], 0, 0)
    for block in (path.at(1.0).query, path.at(0.5).train):
        coordinates = basis.to_eigenbasis(block.dense())
        torch.testing.assert_close(coordinates, basis.rotate(block).dense())
        torch.testing.assert_close(basis.from_eigenbasis(coordinates), block.dense())


@pytest.mark.parametrize("name", ["linear", "conv2d", "attention"])
def test_the_eigenvalues_of_several_checkpoints_are_the_mean_curvature_in_their_basis(name: str) -> None:
    module, x, y = build(name, 9)
    path, weights = along_training(module, x, y, 3), [0.2, 0.3, 0.5, 0.0]
    basis = path.kronecker(weights, 0, 0)
    mean = sum(weight * path.checkpoint(index).ggn() for index, weight in enumerate(weights))
    torch.testing.assert_close(
        basis.eigenvalues, basis.to_eigenbasis(basis.to_eigenbasis(mean).T).diagonal(), rtol=1e-6, atol=1e-10
    )


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("average", ["gradients", "parameters"])
def test_source_is_the_walk_by_dense_matrix_exponentials(count: int, average: str) -> None:
    """EK-FAC of one linear layer with squared errors is the Gauss-Newton matrix itself, so the oracle needs no basis."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(14, 4, generator=generator, dtype=torch.float64)
    y = torch.randn(14, 2, generator=generator, dtype=torch.float64)
    path = along_training(nn.Linear(4, 2).double(), x, y, 3)
    length = path.durations[-1] / count
    carried, expected = path.at(1.0).query.dense(), torch.zeros(3, 11, dtype=torch.float64)
    for weights in reversed(segments.shares(path.durations, count, 6)):
        models = [(path.blend(weights), 1.0)]
        if average == "gradients":
            models = [(path.checkpoint(index), weight) for index, weight in enumerate(weights)]
        matrix = sum(weight * model.ggn() for model, weight in models) + 0.01 * torch.eye(10).double()
        decay = torch.from_numpy(scipy.linalg.expm(-length * matrix.numpy()))
        reached = carried @ (torch.eye(10).double() - decay) @ torch.linalg.inv(matrix)
        expected -= reached @ sum(weight * loss_gradients(model) for model, weight in models).T / 11
        carried = carried @ decay
    found = source.attribute(path, segments=count, average=average)
    torch.testing.assert_close(found, expected)


def stationary(duration: float, decay: float = 0.02) -> Network:
    """Return a network whose checkpoints are all the same."""
    module, x, y = build("mlp", 12)
    data = Arrays(x[3:], y[3:], x[:3], y[:3])
    times = CheckpointTimes([1, 2, 3], [0.1] * 3, [duration / 4, duration / 2, duration])
    state = module.state_dict()
    return NetworkReader(
        module, lambda _: state, TASK, data, 0, times, weight_decay=decay, memory_mib=50
    ).network()


def test_the_number_of_segments_of_a_stationary_training_does_not_matter() -> None:
    whole = source.attribute(stationary(3.0), segments=1)
    for average in ("gradients", "parameters"):
        torch.testing.assert_close(source.attribute(stationary(3.0), segments=3, average=average), whole)


def test_long_training_is_influence_and_short_training_is_gradient_products() -> None:
    long = source.attribute(stationary(1e7), segments=1)
    torch.testing.assert_close(
        long, ekfac.attribute(stationary(1e7), Workspace(), damping=0.0), rtol=1e-6, atol=1e-9
    )
    short = source.attribute(stationary(1e-6), segments=1) / 1e-6
    model = stationary(1e-6).at(1.0)
    expected = model.query.dense() @ (model.loss_weight[:, None] * model.train.dense()).T / 9
    torch.testing.assert_close(short, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_on_a_quadratic_it_is_the_exact_unrolling_up_to_the_step_size() -> None:
    """Linear regression by gradient descent on all examples has constant curvature, and MAGIC is exact."""
    torch.manual_seed(1)
    x, y = torch.randn(12, 3).double(), torch.randn(12, 1).double()
    data = Arrays(x[2:], y[2:], x[:2], y[:2])
    start = {name: 0.01 * value for name, value in nn.Linear(3, 1).double().state_dict().items()}

    def make(seed: int) -> nn.Module:
        module = nn.Linear(3, 1).double()
        module.load_state_dict(start)
        return module

    errors = []
    for steps in (40, 80):
        recipe = RecipeConfig(lr=4.0 / steps, batch_size=10, steps=steps)
        replay = Replay(make, get_task("regression"), recipe, RUN, data)
        exact = magic.attribute(replay)
        saved = [replay.at(part / 40) for part in range(1, 41)]
        states = [{k: v.clone() for k, v in replay.parameters(point).items()} for point in saved]
        times = CheckpointTimes(
            [point.steps for point in saved],
            [recipe.lr] * 40,
            [recipe.lr * point.steps for point in saved],
        )
        path = NetworkReader(
            *(make(0), states.__getitem__, get_task("regression"), data, 0, times),
            weight_decay=0.0,
            memory_mib=50,
        ).network()
        found = source.attribute(path, segments=40, checkpoints=40)
        errors.append(float((found - exact).norm() / exact.norm()))
    assert errors[1] < 0.05
    assert errors[1] < errors[0]


@pytest.mark.parametrize(
    ("count", "checkpoints", "expected"),
    [
        (1, 9, [[0.125, 0.125, 0.25, 0.5]]),
        (1, 2, [[0.0, 0.0, 0.5, 0.5]]),
        (2, 9, [[0.25, 0.25, 0.5, 0.0], [0.0, 0.0, 0.0, 1.0]]),
        (4, 3, [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1]]),
    ],
)
def test_the_weight_of_a_checkpoint_is_the_training_that_it_represents(count, checkpoints, expected) -> None:
    found = segments.shares([0.5, 1.0, 2.0, 4.0], count, checkpoints)
    np.testing.assert_allclose(found, expected)


def test_segments_and_checkpoints_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        segments.shares([1.0], 0, 3)


# SOURCE for Adam


def scaled_like(factors: Tensor, decoupled: bool) -> Replay:
    """Return a stand-in for a replay whose optimiser multiplies gradients by constant factors."""
    point = SimpleNamespace(preconditioner=lambda: factors)
    return SimpleNamespace(at=lambda _: point, decay_is_decoupled=decoupled, n_steps=1, n_slots=3)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("decoupled", [True, False])
def test_source_adam_is_the_walk_by_dense_matrix_exponentials_of_the_preconditioned_curvature(
    count: int, decoupled: bool
) -> None:
    """If the factors are a Kronecker product, EK-FAC of the scaled problem is exact for one linear layer."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(14, 4, generator=generator, dtype=torch.float64)
    y = torch.randn(14, 2, generator=generator, dtype=torch.float64)
    path = along_training(nn.Linear(4, 2, bias=False).double(), x, y, 3, decay=0.2)
    rows, columns = torch.tensor([0.5, 2.0]).double(), torch.tensor([1.0, 3.0, 0.2, 0.7]).double()
    factors = torch.outer(rows, columns).flatten() if decoupled else torch.full((8,), 0.7).double()
    length = path.durations[-1] / count
    carried, expected = path.at(1.0).query.dense(), torch.zeros(3, 11, dtype=torch.float64)
    decay = 0.2 * (torch.eye(8).double() if decoupled else factors.diag())
    for weights in reversed(segments.shares(path.durations, count, 6)):
        models = [(path.checkpoint(index), weight) for index, weight in enumerate(weights)]
        flow = factors[:, None] * sum(weight * model.ggn() for model, weight in models) + decay
        step = torch.from_numpy(scipy.linalg.expm(-length * flow.numpy()))
        summed = torch.linalg.solve(flow, torch.eye(8).double() - step) * factors
        expected -= carried @ summed @ sum(weight * loss_gradients(model) for model, weight in models).T / 11
        carried = carried @ step
    found = source_adam.attribute(path, scaled_like(factors, decoupled), segments=count)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", KINDS)
def test_eigenvalues_of_scaled_gradients_are_exact_in_their_basis(name: str) -> None:
    module, x, y = build(name, 9)
    path, weights = along_training(module, x, y, 3), [0.0, 0.3, 0.7, 0.0]
    scale = torch.rand(path.at(1.0).n_parameters, generator=torch.Generator().manual_seed(3)).double() + 0.1
    basis = path.kronecker(weights, 0, 0, scale)
    mean = sum(weight * path.checkpoint(index).ggn() for index, weight in enumerate(weights))
    scaled = scale[:, None] * mean * scale
    torch.testing.assert_close(
        basis.eigenvalues, basis.to_eigenbasis(basis.to_eigenbasis(scaled).T).diagonal()
    )
    vectors = path.at(1.0).query.dense()
    torch.testing.assert_close(basis.from_eigenbasis(basis.to_eigenbasis(vectors)), vectors)


def test_without_scaling_it_is_source() -> None:
    module, x, y = build("mlp", 12)
    path = along_training(module, x, y, 3)
    ones = torch.ones(path.at(1.0).n_parameters).double()
    for decoupled in (True, False):
        found = source_adam.attribute(path, scaled_like(ones, decoupled))
        torch.testing.assert_close(found, source.attribute(path))


def test_the_preconditioner_is_the_factor_of_torchs_adam() -> None:
    recipe = RECIPES["adam"]
    parameter = nn.Parameter(torch.randn(6, generator=torch.Generator().manual_seed(0)).double())
    adam = torch.optim.Adam([parameter], lr=1.0, betas=tuple(recipe.betas), eps=recipe.eps)
    for step in range(1, 4):
        before = parameter.detach().clone()
        parameter.grad = torch.randn(6, generator=torch.Generator().manual_seed(step)).double()
        adam.step()
        state = adam.state[parameter]
        slots = torch.stack([parameter.detach(), state["exp_avg"], state["exp_avg_sq"]])
        mean = state["exp_avg"] / (1 - recipe.betas[0] ** step)
        torch.testing.assert_close(before - parameter.detach(), mean * preconditioner(recipe, slots, step))


@pytest.mark.slow
def test_on_a_training_with_adam_it_is_nearer_to_the_exact_unrolling() -> None:
    torch.manual_seed(1)
    x = torch.randn(22, 4).double() * torch.tensor([5.0, 1.0, 0.2, 0.05]).double()
    data = Arrays(x[4:], torch.randn(18, 1).double(), x[:4], torch.randn(4, 1).double())
    recipe = RecipeConfig(optimizer=Optimizer.adam, lr=0.002, betas=[0.9, 0.99], batch_size=18, steps=300)

    def make(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Linear(4, 1).double()

    task = get_task("regression")
    replay = Replay(make, task, recipe, RUN, data)
    saved = [replay.at(part / 10) for part in range(1, 11)]
    states = [{k: v.clone() for k, v in replay.parameters(point).items()} for point in saved]
    steps = [point.steps for point in saved]
    times = CheckpointTimes(steps, [recipe.lr] * 10, [recipe.lr * step for step in steps])
    path = NetworkReader(
        make(0), states.__getitem__, task, data, 0, times, weight_decay=0.0, memory_mib=50
    ).network()
    exact = magic.attribute(replay).flatten()

    def agreement(scores: Tensor) -> float:
        return float(torch.corrcoef(torch.stack([scores.flatten(), exact]))[0, 1])

    adapted = agreement(source_adam.attribute(path, replay, checkpoints=10))
    plain = agreement(source.attribute(path, checkpoints=10))
    assert adapted > 0.8
    assert adapted > plain


def test_a_copy_of_the_query_is_a_proponent_for_adam() -> None:
    given = arrays()
    asked = Arrays(given.x_train, given.y_train, given.x_train[:4], given.y_train[:4])
    replay = Replay(network, TASK, RECIPES["adamw"], RUN, asked)
    saved = [replay.at(part) for part in (0.3, 0.6, 1.0)]
    states = [{k: v.clone() for k, v in replay.parameters(point).items()} for point in saved]
    steps = [point.steps for point in saved]
    times = CheckpointTimes(steps, [0.05] * 3, [0.05 * step for step in steps])
    path = NetworkReader(
        network(0), states.__getitem__, TASK, asked, 0, times, weight_decay=0.1, memory_mib=50
    ).network()
    scores = source_adam.attribute(path, replay)
    copies = scores[torch.arange(4), torch.arange(4)]
    assert (copies > 0).all()
    assert (copies > scores.mean(1)).all()


# DVEmb


def test_dvemb_is_the_product_of_dense_steps() -> None:
    recipe = RecipeConfig(lr=0.3, batch_size=4, epochs=3)
    replay = Replay(network, TASK, recipe, RUN, arrays())
    steps = list(replay.backward())[::-1]
    by_definition = embeddings(
        [step.gradients() for step in steps], [step.examples for step in steps], replay.rates, 10
    )
    torch.testing.assert_close(dvemb.attribute(replay), -replay.end().query_gradients() @ by_definition.T)


def test_dvemb_with_small_steps_is_ideal_tracin() -> None:
    replay = Replay(network, TASK, RecipeConfig(lr=1e-6, batch_size=4, epochs=3), RUN, arrays())
    query = replay.end().query_gradients()
    expected = torch.zeros(3, 10, dtype=torch.float64)
    for step in replay.backward():
        expected[:, step.examples] -= 1e-6 / len(step.examples) * query @ step.gradients().T
    torch.testing.assert_close(dvemb.attribute(replay), expected, rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("name", RECIPES)
def test_dvemb_ranks_as_the_exact_unrolling_does(name: str) -> None:
    replay = Replay(network, TASK, RECIPES[name], RUN, arrays())
    found, exact = dvemb.attribute(replay), magic.attribute(replay)
    assert torch.corrcoef(torch.stack([found.flatten(), exact.flatten()]))[0, 1] > 0.9


# LESS


def by_torch_adam(point, examples: Tensor, recipe: RecipeConfig) -> Tensor:
    """Return the steps of torch's own Adam from a point of training, per example, divided by the learning rate."""
    rows = []
    for gradient in point.loss_gradients(examples):
        parameter = nn.Parameter(point.slots[0].clone())
        adam = torch.optim.Adam([parameter], lr=1.0, betas=tuple(recipe.betas), eps=recipe.eps)
        adam.state[parameter] = {
            "step": torch.tensor(float(point.steps)),
            "exp_avg": point.slots[1].clone(),
            "exp_avg_sq": point.slots[2].clone(),
        }
        parameter.grad = gradient.clone()
        adam.step()
        rows.append(point.slots[0] - parameter.detach())
    return torch.stack(rows)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_directions_are_the_steps_of_torchs_adam(name: str) -> None:
    replay = Replay(network, TASK, RECIPES[name], RUN, arrays())
    point, examples = replay.at(0.5), torch.arange(10)
    expected = by_torch_adam(point, examples, RECIPES[name])
    torch.testing.assert_close(point.directions(examples), expected)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_less_is_the_cosine_with_the_direction(name: str) -> None:
    replay = Replay(network, TASK, RECIPES[name], RUN, arrays())
    expected = torch.zeros(3, 10, dtype=torch.float64)
    for part in (0.5, 1.0):
        point = replay.at(part)
        query, train = point.query_gradients(), point.directions(torch.arange(10))
        expected -= RECIPES[name].lr * cosine_similarity(query[:, None], train[None], dim=2)
    torch.testing.assert_close(less.attribute(replay, points=2), expected)


@pytest.mark.parametrize("method", [magic, dvemb, less])
@pytest.mark.parametrize("name", RECIPES)
def test_a_copy_of_the_query_is_a_proponent(method, name: str) -> None:
    given = arrays()
    asked = Arrays(given.x_train, given.y_train, given.x_train[:4], given.y_train[:4])
    scores = method.attribute(Replay(network, TASK, RECIPES[name], RUN, asked))
    copies = scores[torch.arange(4), torch.arange(4)]
    assert (copies > 0).all()
    assert (copies > scores.mean(1)).all()


# word embeddings


def test_only_word_embeddings_count() -> None:
    module, x, y = build("embedding", 9)
    path = along_training(module, x, y, 3)
    expected, before = torch.zeros(3, 6, dtype=torch.float64), 0.0
    for model in path.along():
        (table,) = [block for block in model.train.by_layer() if block.parts[0].terms[0].left.tokens]
        (asked,) = [block for block in model.query.by_layer() if block.parts[0].terms[0].left.tokens]
        expected += (model.duration - before) / 6 * asked.dense() @ table.dense().T * model.loss_weight
        before = model.duration
    torch.testing.assert_close(tracin_we.attribute(path), expected)
    assert (tracin_we.attribute(path) - whole(path)).abs().max() > 1e-6, "the other layers count for nothing"


def test_word_embeddings_until_a_point_are_those_of_the_shorter_training() -> None:
    module, x, y = build("embedding", 9)
    path = along_training(module, x, y, 3)  # durations 0.5, 1, 2 and 4
    early = SimpleNamespace(
        durations=path.durations[:2], nearest=lambda _: 1, along=lambda: itertools.islice(path.along(), 2)
    )
    torch.testing.assert_close(tracin_we.attribute(path, until=0.25), tracin_we.attribute(early))


def test_a_text_that_is_a_copy_of_the_query_is_a_proponent_due_to_its_words() -> None:
    module, x, y = build("embedding", 9)
    x, y = torch.cat([x[3:6], x[3:]]), torch.cat([y[3:6], y[3:]])
    scores = tracin_we.attribute(along_training(module, x, y, 3))
    copies = scores.diagonal()
    assert (copies > 0).all()
    assert (copies > scores.mean(1)).all()


def whole(path: History) -> Tensor:
    scores, before = torch.zeros(()), 0.0
    for model in path.along():
        scores = scores + (model.duration - before) / 6 * model.query.inner(model.train) * model.loss_weight
        before = model.duration
    return scores


def test_a_model_without_word_embeddings_is_refused() -> None:
    module, x, y = build("linear", 9)
    with pytest.raises(UserError, match="embeds no tokens"):
        tracin_we.attribute(along_training(module, x, y, 3))

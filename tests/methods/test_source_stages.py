"""SOURCE on trainings in stages, against dense matrix exponentials and the exact derivatives of training, in float64."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from methods.test_magic import RUN
from oracles.unrolling import Part, by_segments
from proponent.config.recipe_schema import RecipeConfig, StageConfig
from proponent.features.curvature.member_curvature import Curvature
from proponent.features.member_network import NetworkReader
from proponent.features.views import CheckpointTimes, Network
from proponent.methods.shared import segments
from proponent.methods.unrolling import magic, source, source_adam
from proponent.settings.split import Arrays
from proponent.settings.tasks import get_task
from proponent.training.replay import Replay

TASK = get_task("regression")
N, QUERIES = 11, 3
FIRST, SECOND = slice(0, 5), slice(5, N)


def data() -> Arrays:
    """Return a linear regression whose second stage has inputs of another scale."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(N + QUERIES, 4, generator=generator, dtype=torch.float64)
    x[5:N] *= torch.tensor([2.0, 1.0, 0.5, 0.2], dtype=torch.float64)
    y = torch.randn(N + QUERIES, 2, generator=generator, dtype=torch.float64)
    return Arrays(x[:N], y[:N], x[N:], y[N:])


def build(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Linear(4, 2).double()


STATES = [build(seed).state_dict() for seed in range(4)]
TIMES = CheckpointTimes([1, 2, 4, 8], [0.1] * 4, [0.5, 1.0, 2.0, 4.0])
DECAY = 0.02


def anywhere(stages: list[tuple[slice, int]]) -> Network:
    """Return a network with four unrelated points as its checkpoints."""
    return NetworkReader(
        build(0),
        STATES.__getitem__,
        TASK,
        data(),
        0,
        TIMES,
        weight_decay=DECAY,
        memory_mib=50,
    ).network(stages)


def described(
    examples: slice, length: float, state: dict[str, Tensor], others: list[tuple[float, dict]]
) -> Part:
    """Return a part of training at the weighted mean of models, from the examples' own gradients and curvature."""
    given = data()
    gradients, curvature = 0.0, DECAY * torch.eye(10, dtype=torch.float64)
    for weight, at in [(1.0, state)] if state else others:
        module = build(0)
        module.load_state_dict(at)
        model = Curvature(
            *(module, TASK, given.x_train[examples], given.y_train[examples], given.x_query, given.y_query),
            weight_decay=DECAY,
            duration=1.0,
            memory_mib=50,
        )
        curvature = curvature + weight * model.hessian()
        gradients = gradients - weight * model.train.dense()
    return Part(examples, length, curvature, gradients)


@pytest.mark.parametrize("average", ["gradients", "parameters"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_source_is_the_walk_through_the_segments_of_each_stage(count: int, average: str) -> None:
    """The first stage ends at the second checkpoint, the other two belong to the second stage."""
    parts = []
    for examples, durations, states in (
        (FIRST, [0.5, 1.0], STATES[:2]),
        (SECOND, [1.0, 3.0], STATES[2:]),
    ):
        for weights in segments.shares(durations, count, 6):
            weighted = list(zip(weights, states, strict=True))
            mean = {name: sum(weight * state[name] for weight, state in weighted) for name in states[0]}
            length = durations[-1] / count
            parts.append(described(examples, length, mean if average == "parameters" else {}, weighted))
    path = anywhere([(FIRST, 1), (SECOND, 3)])
    found = source.attribute(path, segments=count, average=average)
    torch.testing.assert_close(found, by_segments(path.at(1.0).query.dense(), parts, N))


def test_one_stage_of_all_examples_changes_nothing() -> None:
    staged, plain = anywhere([(slice(0, N), 3)]), anywhere([])
    assert torch.equal(source.attribute(staged), source.attribute(plain))


def test_the_last_checkpoints_of_every_stage_count() -> None:
    path = anywhere([(FIRST, 1), (SECOND, 3)])
    found = source.attribute(path, segments=1, checkpoints=1)
    parts = [described(FIRST, 1.0, STATES[1], []), described(SECOND, 3.0, STATES[3], [])]
    torch.testing.assert_close(found, by_segments(path.at(1.0).query.dense(), parts, N))


@pytest.mark.parametrize("decoupled", [True, False])
def test_source_adam_walks_through_the_same_stages(decoupled: bool) -> None:
    path = anywhere([(FIRST, 1), (SECOND, 3)])
    point = SimpleNamespace(preconditioner=lambda: torch.ones(10, dtype=torch.float64))
    replay = SimpleNamespace(at=lambda _: point, decay_is_decoupled=decoupled, n_steps=1, n_slots=3)
    torch.testing.assert_close(source_adam.attribute(path, replay), source.attribute(path))


# Real trainings, by gradient descent on all examples of a stage


def trained(first: int, second: int, lr: float = 0.05) -> tuple[Replay, Network, Network]:
    """Return the replay of a training in stages of ``first`` and ``second`` steps, and its network with and without them."""
    stages = [StageConfig(5, first, lr=2 * lr), StageConfig(6, second)]
    replay = Replay(build, TASK, RecipeConfig(lr=lr, batch_size=N, stages=stages), RUN, data())
    steps = range(1, replay.n_steps + 1)
    states = [
        {name: value.clone() for name, value in replay.parameters(replay.at(step / replay.n_steps)).items()}
        for step in steps
    ]
    sums = torch.tensor(replay.rates).double().cumsum(0).tolist()
    times = CheckpointTimes(list(steps), replay.rates, sums)
    staged, unstaged = (
        NetworkReader(
            *(build(0), states.__getitem__, TASK, data(), 0, times),
            weight_decay=0.0,
            memory_mib=50,
        ).network(stages)
        for stages in ([(FIRST, first - 1), (SECOND, first + second - 1)], [])
    )
    return replay, staged, unstaged


def correlation(first: Tensor, second: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1])


@pytest.mark.slow
def test_source_is_near_the_exact_derivatives_only_with_the_stages() -> None:
    errors = []
    for finer in (1, 2):
        replay, staged, unstaged = trained(10 * finer, 15 * finer, 0.05 / finer)
        exact = magic.attribute(replay)
        found = source.attribute(staged, segments=10, checkpoints=99)
        errors.append(float((found - exact).norm() / exact.norm()))
    assert correlation(found, exact) > 0.999
    assert errors[1] < 0.05
    assert errors[1] < 0.7 * errors[0], "the remaining error is due to the size of the steps"
    without = source.attribute(unstaged, segments=20, checkpoints=99)
    assert float((without - exact).norm() / exact.norm()) > 5 * errors[1]


def hessian(examples: slice) -> Tensor:
    """Return the Hessian of the mean loss of some examples, (10, 10): two rows of weights, then two biases."""
    x, eye = data().x_train[examples], torch.eye(2, dtype=torch.float64)
    jacobian = torch.cat([torch.kron(eye, x), eye.repeat_interleave(len(x), 0)], 1)
    return jacobian.T @ jacobian / len(x)


@pytest.mark.slow
def test_the_effect_of_the_first_stage_decays_with_the_curvature_of_the_second() -> None:
    """Steps of the first stage meet the queries' gradients times exp(-E H) of the second stage's examples."""
    replay, path, _ = trained(10, 60)
    steps = [path.stages[0].network.checkpoint(index) for index in range(10)]
    parts = [Part(FIRST, 0.1, hessian(FIRST), -step.train.dense()) for step in steps]
    second = Part(SECOND, 60 * 0.05, hessian(SECOND), torch.zeros(6, 10, dtype=torch.float64))
    found = source.attribute(path, segments=10, checkpoints=99)[:, FIRST]
    torch.testing.assert_close(found, by_segments(path.at(1.0).query.dense(), [*parts, second], N)[:, FIRST])
    exact = magic.attribute(replay)[:, FIRST]
    assert correlation(found, exact) > 0.999
    shorter, before, _ = trained(10, 1)
    faded = exact.norm() / magic.attribute(shorter)[:, FIRST].norm()
    expected = found.norm() / source.attribute(before, segments=10, checkpoints=99)[:, FIRST].norm()
    assert faded < 0.6
    torch.testing.assert_close(expected, faded, rtol=0.1, atol=0.0)

"""Trainings with augmentation: in lockstep, alone and replayed they are ordinary training on the augmented batches."""

from __future__ import annotations

import pytest
import torch
from numpy.random import PCG64
from torch import nn
from torch.nn import functional as F

from oracles.training import train_alone
from proponent.config.recipe_schema import RecipeConfig
from proponent.methods.unrolling import magic
from proponent.settings.augmentation import images
from proponent.settings.batch_augmentation import Augment
from proponent.settings.split import Arrays
from proponent.settings.tasks import get_task
from proponent.training.designs import Run
from proponent.training.lockstep import train
from proponent.training.replay import Replay
from proponent.training.stack import state_dict

N, CLASSES = 11, 3
TASK = get_task("classification")
RECIPE = RecipeConfig(lr=0.1, momentum=0.9, batch_size=4, epochs=3)
AUGMENT = Augment(lambda x, generator: images(x, generator, flip=True, pixels=1))


def build(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Flatten(), nn.Linear(20, 5), nn.Tanh(), nn.Dropout(0.2), nn.Linear(5, CLASSES))
        return net.double()


def data():
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(N + 2, 4, 5, generator=draws, dtype=torch.float64)
    y = torch.arange(N + 2) % CLASSES
    return Arrays(x[:N], y[:N], x[N:], y[N:])


def some_runs():
    mask = torch.arange(N) % 4 != 1
    return [Run(1, 11), Run(2, 12, mask), Run(3, 13, mask, by_weight=True)]


@pytest.mark.parametrize("lockstep", [1, 3])
def test_lockstep_is_ordinary_training(lockstep):
    given = data()
    trained = train(
        build, given.x_train, given.y_train, TASK, RECIPE, some_runs(), augment=AUGMENT, lockstep=lockstep
    )
    for index, run in enumerate(some_runs()):
        alone, _, _ = train_alone(build, given.x_train, given.y_train, RECIPE, run, augment=AUGMENT)
        found = state_dict(trained.template, trained.state, index)
        for name, value in alone.state_dict().items():
            torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-10)


def test_a_replay_is_the_training_and_magic_its_derivative():
    given, run = data(), some_runs()[0]
    replay = Replay(build, TASK, RECIPE, run, given, augment=AUGMENT)
    alone, _, _ = train_alone(build, given.x_train, given.y_train, RECIPE, run, augment=AUGMENT)
    for name, value in replay.parameters(replay.end()).items():
        torch.testing.assert_close(value, alone.state_dict()[name], rtol=1e-10, atol=1e-10)
    scores = magic.attribute(replay)

    def targets(weights):
        def loss(outputs, y):
            batch = next(batches)
            return F.cross_entropy(outputs, y, reduction="none") * weights[batch]

        batches = iter([examples for examples, _ in map(replay_batch, range(replay.n_steps))])
        final, _, _ = train_alone(
            build, given.x_train, given.y_train, RECIPE, run, loss=loss, augment=AUGMENT
        )
        return TASK.target(final.eval()(given.x_query), given.y_query).detach()

    draws = PCG64(0)
    replay_batch = lambda index: replay._batch(index, draws)  # noqa: E731
    step = 1e-5
    for example in (0, 6):
        change = torch.zeros(N, dtype=torch.float64)
        change[example] = step
        slope = (targets(1 + change) - targets(1 - change)) / (2 * step)
        torch.testing.assert_close(scores[:, example], slope, rtol=1e-4, atol=1e-7)

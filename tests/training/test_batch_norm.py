"""Models whose buffers move in training, such as running statistics, are those of ordinary training."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from oracles.training import train_alone
from proponent.config.recipe_schema import LastBatch, Optimizer, RecipeConfig
from proponent.errors import UserError
from proponent.settings.models import resnet9
from proponent.settings.tasks import get_task
from proponent.training.designs import Run
from proponent.training.lockstep import train
from proponent.training.pass_choice import PassChoice
from proponent.training.stack import state_dict

N, CLASSES, BATCH = 27, 3, 8
TASK = get_task("classification")
SGD = RecipeConfig(lr=0.05, momentum=0.9, weight_decay=0.01, batch_size=BATCH, epochs=3)
ADAM = RecipeConfig(optimizer=Optimizer.adamw, lr=0.01, eps=1e-3, batch_size=BATCH, epochs=3)


def mlp(**options):
    return nn.Sequential(
        nn.Linear(64, 6), nn.BatchNorm1d(6, **options), nn.Tanh(), nn.Dropout(0.2), nn.Linear(6, CLASSES)
    )


def conv(norm):
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 4, 3, stride=2),
        norm,
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(36, CLASSES),
    )


class Positions(nn.Module):
    """Batch normalisation over the positions of a sequence, once with and once without flattening it."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.flat = nn.Linear(8, 5), nn.BatchNorm1d(5), nn.BatchNorm1d(5)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, x):
        hidden = torch.tanh(self.norm(self.first(x.unflatten(1, (8, 8))).mT).mT)
        return self.head(self.flat(hidden.flatten(0, 1)).unflatten(0, hidden.shape[:2]).mean(1))


class Moving(nn.Module):
    """Buffers that a pass assigns anew, and one that is used by it."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(64, 6), nn.Linear(6, CLASSES)
        self.register_buffer("mean", torch.rand(6))
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, x):
        hidden = torch.tanh(self.first(x)) - self.mean
        if self.training:
            self.calls = self.calls + 1
            self.mean = self.mean * 0.9 + 0.1 * self.head.weight.detach().mean(0)
        return self.head(hidden)


class Frozen(nn.BatchNorm1d):
    """Batch normalisation that stays in eval mode."""

    def train(self, mode=True):
        return super().train(mode=False)


def volume():
    return nn.Sequential(
        nn.Unflatten(1, (1, 4, 4, 4)),
        nn.Conv3d(1, 2, 2),
        nn.BatchNorm3d(2),
        nn.Flatten(),
        nn.Linear(54, CLASSES),
    )


MODELS = {
    "batch norm": mlp,
    "without affine": lambda: mlp(affine=False),
    "cumulative average": lambda: mlp(momentum=None),
    "without running statistics": lambda: mlp(track_running_stats=False),
    "another momentum and eps": lambda: mlp(momentum=0.3, eps=0.1),
    "2d": lambda: conv(nn.BatchNorm2d(4)),
    "3d": volume,
    "synchronised": lambda: conv(nn.SyncBatchNorm(4)),
    "instance norm": lambda: conv(nn.InstanceNorm2d(4, affine=True, track_running_stats=True)),
    "positions": Positions,
    "frozen": lambda: nn.Sequential(nn.Linear(64, 6), Frozen(6), nn.Linear(6, CLASSES)),
    "moving buffers": Moving,
    "resnet9": lambda: nn.Sequential(nn.Unflatten(1, (1, 8, 8)), resnet9(1, CLASSES, width=2)),
}


def factory(make, dtype):
    def build(seed):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return make().to(dtype)

    return build


def data(dtype):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(N, 64, generator=generator, dtype=dtype)
    return x, torch.randint(CLASSES, (N,), generator=generator)


def some_runs():
    """All examples, subsets of two sizes, and two that drop by weight: lengths and batches differ."""
    masks = torch.zeros(3, N, dtype=torch.bool)
    for row, size in enumerate((20, 14, 24)):
        masks[row, torch.randperm(N, generator=torch.Generator().manual_seed(row))[:size]] = True
    loo = torch.ones(N, dtype=torch.bool)
    loo[5] = False
    return [
        Run(1, 11, masks[1]),
        Run(2, 12),
        Run(3, 13, masks[0]),
        Run(2, 12, masks[2], by_weight=True),
        Run(4, 14, loo, by_weight=True),
    ]


def assert_agree(build, x, y, recipe, tolerance):
    runs = some_runs()
    trained = train(build, x, y, TASK, recipe, runs, checkpoints=[2, 5], lockstep=3)
    for index, run in enumerate(runs):
        alone, saved, _ = train_alone(build, x, y, recipe, run, checkpoints=[2, 5])
        for expected, state in (
            (alone.state_dict(), trained.state),
            (saved[2], trained.checkpoints[2]),
            (saved[5], trained.checkpoints[5]),
        ):
            actual = state_dict(trained.template, state, index)
            assert list(actual) == list(expected)
            for name, value in expected.items():
                assert actual[name].dtype == value.dtype
                torch.testing.assert_close(actual[name], value, rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.parametrize("stacked", [True, False], ids=["in one pass", "one after the other"])
@pytest.mark.parametrize("model", MODELS)
def test_in_double_precision(model, stacked, monkeypatch):
    """Each way to train models is taken, whichever is faster for the model."""
    choice = PassChoice(3, stacked=stacked)
    monkeypatch.setattr("proponent.training.lockstep.pass_choice", lambda *given: choice)
    assert_agree(factory(MODELS[model], torch.float64), *data(torch.float64), SGD, 1e-10)


@pytest.mark.parametrize("model", ["batch norm", "2d"])
def test_with_adam(model):
    assert_agree(factory(MODELS[model], torch.float64), *data(torch.float64), ADAM, 1e-10)


@pytest.mark.parametrize("model", ["batch norm", "cumulative average", "2d"])
def test_in_single_precision(model):
    assert_agree(factory(MODELS[model], torch.float32), *data(torch.float32), SGD, 1e-5)


@pytest.mark.parametrize("last_batch", LastBatch)
def test_last_batches(last_batch):
    recipe = RecipeConfig(lr=0.05, momentum=0.9, batch_size=BATCH, epochs=6, last_batch=last_batch)
    assert_agree(factory(mlp, torch.float64), *data(torch.float64), recipe, 1e-10)


def test_a_batch_of_one_example_says_what_to_do():
    x, y = data(torch.float64)
    recipe = RecipeConfig(lr=0.05, batch_size=N - 1, epochs=2)
    with pytest.raises(
        UserError, match=r"layer '1' \(BatchNorm1d\) cannot be trained on a batch of 1.*last_batch"
    ):
        train(factory(mlp, torch.float64), x, y, TASK, recipe, [Run(1, 2)])

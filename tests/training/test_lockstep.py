"""Models trained in lockstep are the models that ordinary training gives, one at a time."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from oracles.training import train_alone
from proponent.config.schema import Optimizer, RecipeConfig, Schedule
from proponent.settings.models import logistic_regression, mlp
from proponent.settings.tasks import get_task
from proponent.training.designs import Run
from proponent.training.lockstep import train
from proponent.training.stack import state_dict

N, CLASSES = 22, 3
CLASSIFICATION = get_task("classification")


class Tied(nn.Module):
    """Embedding, attention, and a head that shares the embedding's weights, as language models have."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 12, dropout=dropout, batch_first=True)
        self.head = nn.Linear(8, 7, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("position", torch.arange(5))

    def forward(self, tokens):  # noqa: D102
        causal = nn.Transformer.generate_square_subsequent_mask(5, dtype=self.head.weight.dtype)
        hidden = self.embedding(tokens) + 0.1 * self.position[:, None]
        return self.head(self.block(hidden, src_mask=causal, is_causal=True))[:, -1]


class Attention(nn.Module):
    """nn.MultiheadAttention with weights returned, sequence first, and dropout on the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, dropout=0.3)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x):  # noqa: D102
        sequence = x.unflatten(1, (3, 4)).transpose(0, 1)
        attended, weights = self.attention(sequence, sequence, sequence)
        return self.head(self.norm(attended)[0]) + weights.sum((1, 2))[:, None]


class FrozenFeatures(nn.Module):
    """Random features: a frozen layer and a buffer, both different for every seed."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Linear(12, 6).requires_grad_(False)
        self.register_buffer("phase", torch.rand(6))
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x):  # noqa: D102
        return self.head(torch.cos(self.features(x) + self.phase))


class PartlyUsed(nn.Module):
    """A parameter that the outputs do not depend on gets no gradient, and no weight decay either."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(12, CLASSES), nn.Linear(2, 2)

    def forward(self, x):  # noqa: D102
        return self.used(x)


def conv():
    return nn.Sequential(
        nn.Unflatten(1, (1, 3, 4)),
        nn.Conv2d(1, 4, 2, padding=1),
        nn.GroupNorm(2, 4),
        nn.ReLU(inplace=True),
        nn.Dropout2d(0.25),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * 2 * 2, CLASSES),
    )


FLOAT_MODELS = {
    "linear": lambda: logistic_regression(12, CLASSES),
    "mlp": lambda: mlp(12, [8, 5], CLASSES),
    "dropout": lambda: mlp(12, [8, 5], CLASSES, activation="tanh", dropout=0.4),
    "conv, group norm, channel dropout": conv,
    "attention with dropout": Attention,
    "frozen random features": FrozenFeatures,
    "partly used": PartlyUsed,
}
TOKEN_MODELS = {"tied": Tied, "tied, dropout": lambda: Tied(0.2)}
# The bias of attention's keys has gradient 0; with a small eps Adam would make steps out of its rounding errors.
EPS = 1e-3
RECIPES = {
    "sgd": RecipeConfig(lr=0.2, batch_size=5, epochs=4),
    "momentum": RecipeConfig(lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01, batch_size=5, epochs=4),
    "adam": RecipeConfig(
        optimizer=Optimizer.adam, lr=0.01, eps=EPS, weight_decay=0.01, batch_size=5, steps=17
    ),
    "adamw": RecipeConfig(
        optimizer=Optimizer.adamw,
        lr=0.01,
        eps=EPS,
        weight_decay=0.1,
        batch_size=5,
        epochs=4,
        schedule=Schedule.cosine,
        warmup_steps=3,
    ),
}


def factory(make, dtype):
    def build(seed):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return make().to(dtype)

    return build


def data(dtype, tokens=False):
    generator = torch.Generator().manual_seed(1)
    if tokens:
        x = torch.randint(7, (N, 5), generator=generator)
        return x, x[:, 0]
    return torch.randn(N, 12, generator=generator, dtype=dtype), torch.randint(
        CLASSES, (N,), generator=generator
    )


def some_runs():
    """All examples, subsets of two sizes, and one that drops by weight: lengths and batches differ."""
    masks = torch.rand(3, N, generator=torch.Generator().manual_seed(2)) < torch.tensor(
        [[0.7], [0.35], [0.5]]
    )
    return [
        Run(1, 11, masks[1]),
        Run(2, 12),
        Run(3, 13, masks[0]),
        Run(2, 12, masks[2], by_weight=True),
        Run(5, 15, masks[0]),
    ]


def assert_agree(build, x, y, recipe, tolerance, lockstep=3):
    runs = some_runs()
    trained = train(build, x, y, CLASSIFICATION, recipe, runs, checkpoints=[2, 5], lockstep=lockstep)
    for index, run in enumerate(runs):
        alone, saved, losses = train_alone(build, x, y, recipe, run, checkpoints=[2, 5])
        for expected, state in (
            (alone.state_dict(), trained.state),
            (saved[2], trained.checkpoints[2]),
            (saved[5], trained.checkpoints[5]),
        ):
            actual = state_dict(trained.template, state, index)
            assert actual.keys() == expected.keys()
            for name, value in expected.items():
                torch.testing.assert_close(actual[name], value, rtol=tolerance, atol=tolerance)
        ends = trained.loss_steps[index].tolist()
        starts = [0, *ends[:-1]]
        means = [sum(losses[start:end]) / (end - start) for start, end in zip(starts, ends, strict=True)]
        assert trained.loss[index].tolist() == pytest.approx(means, rel=10 * tolerance)
    assert trained.diverged == []


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("model", FLOAT_MODELS)
def test_in_double_precision(model, recipe):
    build = factory(FLOAT_MODELS[model], torch.float64)
    assert_agree(build, *data(torch.float64), RECIPES[recipe], 1e-10)


@pytest.mark.parametrize("recipe", ["momentum", "adamw"])
@pytest.mark.parametrize("model", TOKEN_MODELS)
def test_tokens_in_double_precision(model, recipe):
    build = factory(TOKEN_MODELS[model], torch.float64)
    assert_agree(build, *data(torch.float64, tokens=True), RECIPES[recipe], 1e-10)


@pytest.mark.parametrize("model", FLOAT_MODELS)
def test_in_single_precision(model):
    build = factory(FLOAT_MODELS[model], torch.float32)
    assert_agree(build, *data(torch.float32), RECIPES["momentum"], 1e-5)

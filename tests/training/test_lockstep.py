"""Models trained in lockstep are those of ordinary training, one at a time."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from oracles.training import train_alone
from proponent.config.recipe_schema import Optimizer, RecipeConfig, Schedule
from proponent.errors import UserError
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

    def forward(self, tokens):
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

    def forward(self, x):
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

    def forward(self, x):
        return self.head(torch.cos(self.features(x) + self.phase))


class PartlyUsed(nn.Module):
    """A parameter that the outputs do not depend on gets no gradient, and no weight decay either."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(12, CLASSES), nn.Linear(2, 2)

    def forward(self, x):
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


class Bag(nn.Module):
    """A bag of words whose padding, token 0, is never trained."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(7, 4, padding_idx=0), nn.Linear(4, 7)

    def forward(self, tokens):
        return self.head(self.embedding(tokens).mean(1))


TOKEN_MODELS = {"tied": Tied, "tied, dropout": lambda: Tied(0.2), "padding": Bag}
# The bias of attention's keys has gradient 0; with a small eps Adam would make steps out of its rounding
# errors.
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


@pytest.mark.slow
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


def test_a_model_does_not_depend_on_its_company():
    build = factory(FLOAT_MODELS["dropout"], torch.float64)
    x, y = data(torch.float64)
    together = train(build, x, y, CLASSIFICATION, RECIPES["momentum"], some_runs(), lockstep=5)
    for index, run in enumerate(some_runs()):
        alone = train(build, x, y, CLASSIFICATION, RECIPES["momentum"], [run])
        for name, value in alone.state.items():
            torch.testing.assert_close(together.state[name][index], value[0], rtol=1e-12, atol=1e-12)


def test_the_same_call_gives_the_same_bytes():
    build = factory(FLOAT_MODELS["dropout"], torch.float32)
    first, second = (
        train(build, *data(torch.float32), CLASSIFICATION, RECIPES["adamw"], some_runs()) for _ in range(2)
    )
    assert all(torch.equal(value, second.state[name]) for name, value in first.state.items())


def test_left_out_examples_leave_no_trace():
    build = factory(FLOAT_MODELS["mlp"], torch.float64)
    x, y = data(torch.float64)
    for run in (run for run in some_runs() if run.mask is not None):
        garbled_x, garbled_y = x.clone(), y.clone()
        garbled_x[~run.mask] = 1e3
        garbled_y[~run.mask] = 0
        plain, garbled = (
            train(build, inputs, labels, CLASSIFICATION, RECIPES["momentum"], [run])
            for inputs, labels in ((x, y), (garbled_x, garbled_y))
        )
        assert all(torch.equal(value, garbled.state[name]) for name, value in plain.state.items())


def test_dropping_by_weight_keeps_the_batches_and_their_denominators():
    """One full-batch step of a linear model is -lr / n times the sum of the kept examples' gradients."""
    build = factory(lambda: nn.Linear(12, 1, bias=False), torch.float64)
    x, _ = data(torch.float64)
    y = torch.randn(N, 1, dtype=torch.float64)
    mask = torch.arange(N) % 3 != 0
    recipe = RecipeConfig(lr=0.3, batch_size=N, steps=1)
    trained = train(build, x, y, get_task("regression"), recipe, [Run(1, 2, mask, by_weight=True)])
    before = build(1).weight
    gradient = ((x @ before.T - y) * mask[:, None]).T @ x / N
    torch.testing.assert_close(trained.state["weight"][0], before.detach() - 0.3 * gradient.detach())


def test_diverging_runs_are_named_and_keep_their_place():
    build = factory(FLOAT_MODELS["linear"], torch.float32)
    x, y = data(torch.float32)
    x[0] = 1e30
    runs = [Run(1, 1, torch.arange(N) > 0), Run(2, 2), Run(3, 3, torch.arange(N) > 1), Run(4, 4)]
    trained = train(build, x, y, CLASSIFICATION, RecipeConfig(lr=1e10, epochs=2), runs, lockstep=2)
    assert trained.diverged == [1, 3]
    assert trained.state["weight"][[0, 2]].isfinite().all()


def refused(make, match, x=None, y=None):
    inputs, labels = data(torch.float32)
    x, y = inputs if x is None else x, labels if y is None else y
    with pytest.raises(UserError, match=match) as error:
        train(factory(make, torch.float32), x, y, CLASSIFICATION, RECIPES["sgd"], some_runs())
    assert "\n" not in str(error.value)


def test_randomness_other_than_dropout_is_refused():
    class Noisy(nn.Linear):
        def forward(self, x):
            return super().forward(x + torch.rand_like(x))

    refused(lambda: Noisy(12, CLASSES), "cannot be trained in lockstep")


def test_a_forward_pass_that_branches_on_data_is_refused():
    class Branching(nn.Linear):
        def forward(self, x):
            outputs = super().forward(x)
            return outputs if outputs.sum() > 0 else -outputs

    refused(lambda: Branching(12, CLASSES), "cannot be trained in lockstep")


def test_a_parameter_that_the_forward_pass_changes_is_refused():
    class Shrinking(nn.Linear):
        def forward(self, x):
            with torch.no_grad():
                self.weight.mul_(0.9)
            return super().forward(x)

    refused(lambda: Shrinking(12, CLASSES), "forward pass changes its own 'weight'")


def test_a_changing_buffer_that_is_not_saved_is_refused():
    class Counting(nn.Linear):
        def __init__(self):
            super().__init__(12, CLASSES)
            self.register_buffer("calls", torch.zeros(()), persistent=False)

        def forward(self, x):
            self.calls += 1
            return super().forward(x)

    refused(Counting, "changes its buffer 'calls', which is not saved")


def test_a_layer_that_renormalises_its_weights_is_refused():
    x, y = data(torch.float32, tokens=True)
    refused(
        lambda: nn.Sequential(nn.Embedding(7, 7, max_norm=1.0), nn.AvgPool2d((5, 1)), nn.Flatten()),
        r"layer '0' \(Embedding\) changes its weight in the forward pass",
        x,
        y,
    )


def test_gradients_that_stacking_gets_wrong_are_refused(monkeypatch):
    """Without the replacement, torch's embedding gives its padding a gradient in every model of a stack but the first."""
    monkeypatch.setattr("proponent.training.lockstep.stackable", nullcontext)
    refused(
        Bag,
        r"lockstep training gets the gradient of the model's 'embedding\.weight' wrong",
        *data(torch.float32, True),
    )


def test_a_model_without_trainable_parameters_is_refused():
    refused(lambda: nn.Linear(12, CLASSES).requires_grad_(False), "no trainable parameter")


def test_an_architecture_that_depends_on_the_seed_is_refused():
    refused(
        lambda: nn.Linear(12, CLASSES + int(torch.randint(5, ()))), "another architecture for another seed"
    )


def test_random_buffers_must_be_saved():
    class Random(nn.Linear):
        def __init__(self):
            super().__init__(12, CLASSES)
            self.register_buffer("shift", torch.rand(12), persistent=False)

        def forward(self, x):
            return super().forward(x + self.shift)

    refused(Random, "buffer 'shift' depends on the seed but is not saved")


def test_a_run_without_examples_is_refused():
    x, y = data(torch.float32)
    build = factory(FLOAT_MODELS["linear"], torch.float32)
    with pytest.raises(UserError, match="keeps no example"):
        train(build, x, y, CLASSIFICATION, RECIPES["sgd"], [Run(1, 1, torch.zeros(N, dtype=torch.bool))])

"""Models in one recorded pass, and models one after the other, are those of ordinary training."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from proponent.config.recipe_schema import Optimizer, RecipeConfig
from proponent.errors import UserError
from proponent.settings.models import mlp
from proponent.settings.tasks import get_task
from proponent.torch_compat import layered
from proponent.training import lockstep, traced_pass
from proponent.training.designs import Run
from proponent.training.dropout import draw_masks, given_masks, recorded_draws
from proponent.training.gradient_products import Product, computed
from proponent.training.group import dropout_generator
from proponent.training.pass_choice import pass_choice
from proponent.training.predict import targets
from proponent.training.recipe import StackedOptimizer
from proponent.training.stack import state_dict
from proponent.training.stages import epoch_order, stages_of

CLASSIFICATION = get_task("classification")
GENERATOR = torch.Generator().manual_seed(1)
VECTORS, SEQUENCES = torch.randn(22, 12, generator=GENERATOR), torch.randn(22, 5, 4, generator=GENERATOR)
TOKENS = torch.randint(7, (22, 5), generator=GENERATOR)
LABELS = torch.randint(3, (22,), generator=GENERATOR)
SGD = RecipeConfig(lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01, batch_size=5, epochs=3)
MOMENTUM = RecipeConfig(lr=0.05, momentum=0.9, batch_size=5, epochs=3)
ADAMW = RecipeConfig(optimizer=Optimizer.adamw, lr=0.01, eps=1e-3, weight_decay=0.1, batch_size=5, epochs=3)
RUNS = [Run(1, 11), Run(2, 12, torch.arange(22) % 3 > 0), Run(3, 13, torch.arange(22) > 4, by_weight=True)]


class Recurrent(nn.Module):
    """A recurrent layer, and a linear layer on its last output."""

    def __init__(self, kind: str, **options: object) -> None:
        super().__init__()
        self.layer = getattr(nn, kind)(4, 6, batch_first=True, **options)
        self.head = nn.LazyLinear(3)
        self.head(self.layer(torch.zeros(1, 5, 4))[0][:, -1])

    def forward(self, x):
        return self.head(self.layer(x)[0][:, -1])


class Encoder(nn.Module):
    """Embedded tokens in a transformer layer."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 8, padding_idx=0)
        self.block = nn.TransformerEncoderLayer(8, 2, 12, dropout=dropout, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens):
        return self.head(self.block(self.embedding(tokens)).mean(1))


def build_with(make):
    def build(seed):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return make().double()

    return build


def ordinary(build, x, recipe, run):
    """Train one model by torch.optim, with the dropout masks of the run."""
    model = build(run.init_seed).train()
    if recipe.optimizer is Optimizer.sgd:
        optimizer = torch.optim.SGD(
            model.parameters(),
            recipe.lr,
            recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
        )
    else:
        optimizer = torch.optim.AdamW(
            model.parameters(), recipe.lr, eps=recipe.eps, weight_decay=recipe.weight_decay
        )
    generator = dropout_generator(run)
    (stage,) = stages_of(recipe, run, len(x))
    weights = run.mask.double() if run.by_weight else torch.ones(len(x), dtype=torch.float64)
    for epoch in range(recipe.epochs):
        for batch in epoch_order(run, stage, epoch).split(recipe.batch_size):
            with layered():
                with recorded_draws() as draws, torch.no_grad():
                    model(x[batch])
                with given_masks([mask[0] for mask in draw_masks(draws, [generator])]):
                    losses = F.cross_entropy(model(x[batch]), LABELS[batch], reduction="none")
            optimizer.zero_grad()
            (losses * weights[batch]).mean().backward()
            optimizer.step()
    return model.state_dict()


def assert_equal_to_ordinary(build, x, recipe, runs=RUNS):
    x = x if x.dtype == torch.int64 else x.double()
    trained = lockstep.train(build, x, LABELS, CLASSIFICATION, recipe, runs)
    for index, run in enumerate(runs):
        expected = ordinary(build, x, recipe, run)
        for name, value in trained.state.items():
            torch.testing.assert_close(value[index], expected[name], rtol=1e-10, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [SGD, ADAMW], ids=["sgd", "adamw"])
@pytest.mark.parametrize(
    ("make", "x"),
    [
        (partial(mlp, 12, [8, 5], 3), VECTORS),
        (partial(mlp, 12, [8, 5], 3, activation="tanh", dropout=0.4), VECTORS),
        (partial(Encoder, 0.0), TOKENS),
        (partial(Encoder, 0.3), TOKENS),
    ],
    ids=["mlp", "mlp with dropout", "transformer", "transformer with dropout"],
)
def test_recorded_passes(monkeypatch, make, x, recipe):
    used = record_after_three_passes(monkeypatch)
    assert_equal_to_ordinary(build_with(make), x, recipe)
    assert len(used) > 5


def test_passes_of_many_parameters_are_recorded_earlier(monkeypatch):
    used = record_after_three_passes(monkeypatch)
    monkeypatch.setattr(traced_pass, "LARGE_TRACED_AFTER", 2)
    found = []
    one_model = 8 * (12 * 8 + 8 + 8 * 3 + 3)  # bytes in float64; a pass has two
    for limit in (2 * one_model, one_model):
        monkeypatch.setattr(traced_pass, "LARGE_BYTES", limit)
        used.clear()
        assert_equal_to_ordinary(build_with(partial(mlp, 12, [8], 3)), VECTORS, SGD, RUNS[:1] * 2)
        found.append(len(used))
    assert found[1] == found[0] + 2  # one each of the two shapes of batches


def record_after_three_passes(monkeypatch):
    """Record passes early, and return a list of the gradients of all recorded passes that are run."""
    monkeypatch.setattr(traced_pass, "TRACED_AFTER", 3)
    used, call = [], traced_pass.Recorded.__call__

    def noted(self, leaves):
        losses, gradients = call(self, leaves)
        used.append(gradients)
        return losses, gradients

    monkeypatch.setattr(traced_pass.Recorded, "__call__", noted)
    return used


def test_sgd_with_momentum_adds_recorded_products_to_its_moments(monkeypatch):
    """Gradients of weights are left as products of output gradients and inputs, and no tensor is made of them."""
    used = record_after_three_passes(monkeypatch)
    assert_equal_to_ordinary(build_with(partial(mlp, 12, [8, 5], 3)), VECTORS, MOMENTUM, RUNS[:2])
    products = {name for name, gradient in used[-1].items() if isinstance(gradient, Product)}
    assert products == {name for name in used[-1] if name.endswith("weight")}

    def is_made(self):
        raise AssertionError("the gradient of a weight is made")

    monkeypatch.setattr(Product, "value", is_made)
    optimizer = StackedOptimizer(MOMENTUM, {"w": torch.zeros(2, 4, 3)})
    optimizer.step(
        {"w": Product(torch.ones(2, 3, 5), torch.ones(2, 5, 4), transposed=True)}, slice(0, 2), 0.1, 0
    )


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("recipe", ["sgd", "momentum", "nesterov", "decay", "adamw"])
def test_an_update_by_a_product_is_that_by_its_value(recipe, transposed):
    recipe = {
        "sgd": RecipeConfig(lr=0.1, batch_size=5, epochs=1),
        "momentum": MOMENTUM,
        "nesterov": replace(MOMENTUM, nesterov=True),
        "decay": replace(MOMENTUM, weight_decay=0.1),
        "adamw": ADAMW,
    }[recipe]
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    product = Product(draw(3, 4, 5), draw(3, 5, 2), transposed)
    gradients = {"weight": product, "bias": draw(3, 2)}
    weights = [draw(*product.value().shape)]
    weights.append(weights[0].mT.contiguous().mT)  # the same numbers in another memory order
    ends = []
    for weight in weights:
        for given in (gradients, {"weight": product.value(), "bias": gradients["bias"]}):
            parameters = {"weight": weight.clone(), "bias": torch.zeros(3, 2, dtype=torch.float64)}
            optimizer = StackedOptimizer(recipe, parameters)
            for step in range(3):
                some = {name: gradient[1:] for name, gradient in given.items()}
                optimizer.step(some, slice(1, 3), 0.1, step)
            torch.testing.assert_close(parameters["weight"][0], weights[0][0], rtol=0, atol=0)
            ends.append(parameters)
    for other in ends[1:]:
        torch.testing.assert_close(other, ends[0], rtol=1e-12, atol=1e-12)


def test_batches_of_another_shape_have_a_recording_of_their_own(monkeypatch):
    """An augmentation may shorten sequences, whose length is a constant of a recorded pass."""

    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(SEQUENCES.shape[2], 3)

        def forward(self, x):
            return self.head(x.sum(1) / x.shape[1])

    def shorter(x, seed, step):
        return x[:, : 5 - step % 2]

    ends = []
    for after in (10**9, 3):
        monkeypatch.setattr(traced_pass, "TRACED_AFTER", after)
        build = build_with(Mean)
        data = SEQUENCES.double(), LABELS, CLASSIFICATION
        ends.append(lockstep.train(build, *data, MOMENTUM, RUNS[:2], augment=shorter).state)
    torch.testing.assert_close(*ends, rtol=1e-10, atol=1e-10)


def test_what_cannot_be_recorded_is_computed_as_before(monkeypatch):
    monkeypatch.setattr(traced_pass, "TRACED_AFTER", 3)

    def fails(function):
        raise RuntimeError("not recorded")

    monkeypatch.setattr(traced_pass, "make_fx", fails)
    assert_equal_to_ordinary(build_with(partial(mlp, 12, [8], 3)), VECTORS, SGD)


def test_a_recorded_pass_with_other_gradients_is_not_used(monkeypatch):
    monkeypatch.setattr(traced_pass, "TRACED_AFTER", 3)
    call, used = traced_pass.Recorded.__call__, []

    def wrong(self, leaves):
        used.append(len(leaves))
        losses, gradients = call(self, leaves)
        return losses, {name: 1.01 * computed(gradient) for name, gradient in gradients.items()}

    monkeypatch.setattr(traced_pass.Recorded, "__call__", wrong)
    assert_equal_to_ordinary(build_with(partial(mlp, 12, [8], 3)), VECTORS, SGD)
    assert used


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("LSTM", {}),
        ("LSTM", {"num_layers": 2, "bidirectional": True, "dropout": 0.5}),
        ("LSTM", {"num_layers": 2, "proj_size": 3, "bias": False}),
        ("GRU", {"num_layers": 2, "dropout": 0.5}),
        ("GRU", {"bidirectional": True}),
        ("RNN", {"num_layers": 3, "dropout": 0.2, "nonlinearity": "relu"}),
    ],
    ids=str,
)
def test_recurrent_layers_train_one_model_after_the_other(kind, options):
    build = build_with(partial(Recurrent, kind, **options))
    assert not choice(build(0), SEQUENCES).stacked
    assert_equal_to_ordinary(build, SEQUENCES, SGD)


def test_models_trained_alone_keep_their_own_frozen_tensors():
    """Models that share the template one after the other differ in trained, frozen and buffered tensors."""

    def make():
        model = Recurrent("GRU")
        model.layer.weight_ih_l0.requires_grad_(False)
        model.register_buffer("scale", torch.rand(3))
        model.register_forward_hook(lambda model, x, outputs: outputs * model.scale)
        return model

    for runs in (RUNS, RUNS[:1]):
        assert_equal_to_ordinary(build_with(make), SEQUENCES, SGD, runs)


def test_targets_of_recurrent_models_are_those_of_torchs_kernel():
    build, x = build_with(partial(Recurrent, "LSTM", num_layers=2, dropout=0.5)), SEQUENCES.double()
    trained = lockstep.train(build, x, LABELS, CLASSIFICATION, SGD, RUNS)
    found = targets(trained.template, trained.state, x, LABELS, CLASSIFICATION, models=2, batch_size=9)
    assert (trained.stacked, trained.together) == (False, 1)
    for index, row in enumerate(found):
        model = build(0).eval()
        model.load_state_dict(state_dict(trained.template, trained.state, index))
        with torch.no_grad():
            torch.testing.assert_close(row, CLASSIFICATION.target(model(x), LABELS), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_layer_by_layer_is_torchs_own_layer(kind):
    """In eval mode nothing is dropped; in training mode with masks of ones, layers run one by one."""
    layer = getattr(nn, kind)(4, 6, num_layers=3, bidirectional=True, dropout=0.5, batch_first=True)
    layer.eval()
    expected, last = layer(SEQUENCES)
    layer.train()
    with layered(), recorded_draws() as draws:
        outputs, final = layer(SEQUENCES)
    assert [draw.shape for draw in draws] == [(5, 22, 12)] * 2
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(final, last)


@pytest.mark.parametrize(
    ("norm", "channels", "inner"),
    [(nn.Identity, 8, True), (partial(nn.GroupNorm, 2), 8, False), (nn.Identity, 4, False)],
)
def test_filters_have_the_faster_memory_order(norm, channels, inner):
    """Channels are innermost, but for group normalisation and few channels, with which torch may crash."""

    def make():
        first, second = nn.Conv2d(1, channels, 3, padding=1), nn.Conv2d(channels, 8, 2, stride=2)
        normed = norm() if norm is nn.Identity else norm(channels)
        return nn.Sequential(
            nn.Unflatten(1, (1, 3, 4)), first, normed, nn.ReLU(), second, nn.Flatten(), nn.Linear(16, 3)
        )

    def build(seed):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return make()

    trained, again = (
        lockstep.train(build, VECTORS, LABELS, CLASSIFICATION, MOMENTUM, RUNS[:2]) for _ in range(2)
    )
    filters = [value for value in trained.state.values() if value.ndim == 5]
    assert [value[0].is_contiguous(memory_format=torch.channels_last) for value in filters[1:]] == [inner]
    assert not trained.stacked
    for index, run in enumerate(RUNS[:2]):
        expected = ordinary(lambda seed: build(seed).double(), VECTORS.double(), MOMENTUM, run)
        for name, value in trained.state.items():
            torch.testing.assert_close(value[index].double(), expected[name], rtol=1e-5, atol=1e-6)
            assert torch.equal(value, again.state[name])


def test_a_packed_sequence_is_refused():
    class Packed(Recurrent):
        def forward(self, x):
            packed = nn.utils.rnn.pack_padded_sequence(x, [5] * len(x), batch_first=True)
            return self.head(self.layer(packed)[1][0][-1])

    with pytest.raises(UserError, match="packed sequence"):
        assert_equal_to_ordinary(build_with(partial(Packed, "LSTM")), SEQUENCES, SGD)


def choice(model, x, device="cpu"):
    return pass_choice(model, x.to(next(model.parameters()).dtype), LABELS, CLASSIFICATION, SGD, device)


def test_the_choice_follows_from_layers_sizes_and_device():
    small, large = mlp(12, [8], 3), mlp(12, [40_000, 30], 3)
    assert choice(small, VECTORS).stacked
    assert choice(small, VECTORS).models > 50
    assert not choice(large, VECTORS).stacked
    assert choice(large, VECTORS, "cuda").stacked
    network = mlp(12, [4096], 3)
    assert 1 < choice(network, VECTORS).models < choice(mlp(12, [2048], 3), VECTORS).models
    conv = nn.Sequential(nn.Unflatten(1, (1, 12)), nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Linear(20, 3))
    assert not choice(conv, VECTORS).stacked
    assert choice(conv, VECTORS, "cuda").stacked
    assert not choice(Recurrent("LSTM"), SEQUENCES, "cuda").stacked


def test_the_choice_leaves_buffers_as_they_are():
    model = nn.Sequential(nn.Linear(12, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert choice(model, VECTORS).stacked
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_units_at_their_kink_have_other_gradients_by_rounding_and_are_trained():
    """For one example the ReLUs' inputs are 0 up to rounding, which differs between a stacked and an ordinary product."""
    x = torch.randn(16, 500, generator=torch.Generator().manual_seed(2))

    def build(seed):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = nn.Sequential(nn.Linear(500, 64), nn.ReLU(), nn.Linear(64, 3))
        with torch.no_grad():
            model[0].bias.sub_(model[0](x)[0])
        return model

    recipe, labels = RecipeConfig(lr=0.01, batch_size=16, steps=1), torch.arange(16) % 3
    trained = lockstep.train(build, x, labels, CLASSIFICATION, recipe, [Run(seed, seed) for seed in range(3)])
    assert trained.stacked
    assert all(value.isfinite().all() for value in trained.state.values())

"""Cheap variants of a network: hidden units dropped, or low-rank adapters, against plain autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from features.models import build, target_gradients
from methods.fakes import Checkpoints
from proponent.errors import UserError
from proponent.features.curvature.member_curvature import Curvature
from proponent.features.variants import Adapted, adapted, dropped, gradients_of
from proponent.features.views import GradientPair
from proponent.methods.shared.workspace import Workspace
from proponent.methods.trak import trak, trak_variants
from proponent.notes import Note
from proponent.settings.tasks import Classification

N_TRAIN, N_QUERY = 12, 3
TASK = Classification()


def mlp(dropout: bool = False) -> nn.Module:
    torch.manual_seed(0)
    middle = [nn.Tanh(), nn.Dropout(0.5)] if dropout else [nn.Tanh()]
    return nn.Sequential(nn.Linear(4, 7), *middle, nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 3)).double()


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    n = N_TRAIN + N_QUERY
    return torch.randn(n, 4, generator=generator, dtype=torch.float64), torch.arange(n) % 3


def curvature(module: nn.Module, x: Tensor, y: Tensor) -> Curvature:
    split = (x[:N_TRAIN], y[:N_TRAIN], x[N_TRAIN:], y[N_TRAIN:])
    return Curvature(module, TASK, *split, weight_decay=0.0, duration=1.0)


def by_autograd(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return the gradients of the target with respect to the trainable parameters, one example at a time."""
    rows = []
    leaves = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for row in range(len(x)):
        value = TASK.target(module.eval()(x[row : row + 1]), y[row : row + 1])[0]
        rows.append(torch.cat([found.flatten() for found in torch.autograd.grad(value, leaves)]))
    return torch.stack(rows)


@pytest.mark.parametrize("dropout", [False, True])
def test_a_dropped_network_is_the_one_whose_weights_miss_columns(dropout: bool, data) -> None:
    """The inputs of linear layers are masked, so that their outputs are those of weights with scaled columns."""
    module = mlp(dropout)
    thin = dropped(module, data[0][:1], 0.5, seed=3).eval()
    outputs = thin(data[0])
    generator = torch.Generator().manual_seed(3)
    first = (torch.rand(7, generator=generator) >= 0.5).double() * 2
    second = torch.ones(6, dtype=torch.float64)
    if not dropout:  # without nn.Dropout every hidden layer is thinned
        second = (torch.rand(6, generator=generator) >= 0.5).double() * 2
    linear = [part for part in module if isinstance(part, nn.Linear)]
    hidden = torch.tanh(linear[0](data[0])) * first
    expected = linear[2](torch.tanh(linear[1](hidden)) * second)
    torch.testing.assert_close(outputs, expected)
    assert 0 < (first == 0).sum() < 7
    torch.testing.assert_close(
        module.eval()(data[0]), mlp(dropout).eval()(data[0])
    )  # the original has not changed


@pytest.mark.parametrize("make", ["dropped", "adapted"])
def test_gradients_of_a_variant_are_those_of_autograd(make: str, data) -> None:
    module, (x, y) = mlp(), data
    network = curvature(module, x, y)
    if make == "dropped":
        pair, variant = network.dropped(0.4, 5), dropped(module, x[:1], 0.4, 5)
    else:
        options = {"rank": 2, "epochs": 3, "learning_rate": 0.01, "seed": 5}
        pair = network.adapted(*options.values())
        variant = adapted(module, TASK, x[:N_TRAIN], y[:N_TRAIN], **options)
    expected = by_autograd(variant, x, y)
    torch.testing.assert_close(pair.gram(), expected[:N_TRAIN] @ expected[:N_TRAIN].T)
    torch.testing.assert_close(pair.query.inner(pair.train), expected[N_TRAIN:] @ expected[:N_TRAIN].T)
    torch.testing.assert_close(pair.loss_weight, TASK.loss_weight(variant(x[:N_TRAIN]), y[:N_TRAIN]).detach())


def test_adapters_begin_at_the_network_and_lower_the_loss(data) -> None:
    module, (x, y) = mlp(), data

    def variant(epochs: int) -> nn.Module:
        return adapted(module, TASK, x, y, rank=2, epochs=epochs, learning_rate=0.01, seed=0).eval()

    start, later = variant(0), variant(30)
    torch.testing.assert_close(start(x), module.eval()(x))
    assert TASK.loss(later(x), y).mean() < TASK.loss(start(x), y).mean()
    trainable = [name for name, parameter in later.named_parameters() if parameter.requires_grad]
    assert len(trainable) == 6
    assert all("down" in name or "up" in name for name in trainable)
    torch.testing.assert_close(later(x), variant(30)(x), rtol=0, atol=0)


def test_the_first_gradients_of_adapters_are_those_of_the_weights_times_down(data) -> None:
    """With up = 0, the derivative with respect to up is that of the weight times down^T, and that of down is zero."""
    module, (x, y) = mlp(), data
    variant = adapted(module, TASK, x, y, rank=2, epochs=0, learning_rate=0.01, seed=0)
    weights = [part.weight for part in module if isinstance(part, nn.Linear)]
    target = TASK.target(module(x[:1]), y[:1])[0]
    by_weight = torch.autograd.grad(target, weights)
    adapters = [part for part in variant.modules() if isinstance(part, Adapted)]
    found = torch.autograd.grad(
        TASK.target(variant(x[:1]), y[:1])[0], [p for a in adapters for p in (a.down.weight, a.up.weight)]
    )
    for adapter, gradient, down, up in zip(adapters, by_weight, found[::2], found[1::2], strict=True):
        torch.testing.assert_close(up, gradient @ adapter.down.weight.T)
        assert not down.any()


@pytest.mark.parametrize("layer", ["mlp", "conv2d", "embedding", "attention", "encoder-layer"])
def test_variants_of_other_layers_can_be_captured(layer: str) -> None:
    module, x, y = build(layer, N_TRAIN + N_QUERY)
    network = curvature(module, x, y)
    pairs = [network.adapted(2, 1, 0.01, 0)]
    if layer in ("mlp", "encoder-layer", "attention", "embedding"):
        pairs.append(network.dropped(0.3, 1))
    for pair in pairs:
        assert pair.gram().isfinite().all()
        assert pair.train.norms_squared().min() > 0


def test_a_linear_model_has_nothing_to_drop_and_a_bare_layer_is_adapted(data) -> None:
    x, y = data
    bare = nn.Linear(4, 3).double()
    with pytest.raises(UserError, match=r"Linear has no hidden layer .* to drop units of"):
        dropped(bare, x[:1], 0.1, 0)
    assert curvature(bare, x, y).adapted(2, 1, 0.01, 0).train.n_parameters == 2 * (4 + 3)
    with pytest.raises(UserError, match=r"no nn.Linear layer to adapt"):
        adapted(nn.Conv1d(1, 3, 1), TASK, x, y, rank=2, epochs=1, learning_rate=0.1, seed=0)


def test_one_variant_that_drops_nothing_is_trak_itself(data) -> None:
    module, (x, y) = mlp(), data
    network = curvature(module, x, y)
    pair = GradientPair(
        *(
            target_gradients(module, TASK, x[rows], y[rows], 100)[0]
            for rows in (slice(N_TRAIN), slice(N_TRAIN, None))
        ),
        network.loss_weight,
        network.loss_weight * (1 - network.loss_weight),
        0.1,
        1.0,
    )
    found = trak_variants.attribute(
        Checkpoints({1.0: network}), Workspace(), variants=1, drop=0.0, damping=0.5
    )
    for ours, theirs in zip(
        found, trak.attribute(Checkpoints({1.0: pair}), Workspace(), damping=0.5), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("kind", ["dropout", "lora"])
def test_variants_are_averaged_factor_by_factor_and_differ(kind: str, data) -> None:
    network = Checkpoints({1.0: curvature(mlp(), *data)})
    singles = [
        trak_variants.attribute(network, Workspace(), kind=kind, variants=count, drop=0.4)
        for count in (1, 2, 3)
    ]
    one, two, three = (torch.cat([kernel.flatten(), weights]) for kernel, weights in singles)
    assert (2 * two - one != one).any()
    again = trak_variants.attribute(
        Checkpoints({1.0: curvature(mlp(), *data)}), Workspace(), kind=kind, variants=3, drop=0.4
    )
    torch.testing.assert_close(three, torch.cat([again[0].flatten(), again[1]]), rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["dropout", "lora"])
def test_a_grid_of_dampings_makes_each_variant_once(kind: str, data, monkeypatch) -> None:
    network = Checkpoints({1.0: curvature(mlp(), *data)})
    made = []
    original = Curvature._variant
    monkeypatch.setattr(Curvature, "_variant", lambda self, make: made.append(1) or original(self, make))
    workspace = Workspace([0.5, 2.0])
    grid = [trak_variants.attribute(network, workspace, kind=kind, variants=3, damping=d) for d in (0.5, 2.0)]
    assert len(made) == 3
    for damping, found in zip((0.5, 2.0), grid, strict=True):
        alone = trak_variants.attribute(network, Workspace(), kind=kind, variants=3, damping=damping)
        torch.testing.assert_close(found, alone)


@pytest.mark.parametrize("kind", ["dropout", "lora"])
def test_a_copy_of_the_query_is_a_proponent(kind: str, data) -> None:
    x, y = data
    module = mlp()
    network = Curvature(module, TASK, x, y, x[:5].clone(), y[:5].clone(), weight_decay=0.0, duration=1.0)
    kernel, weights = trak_variants.attribute(
        Checkpoints({1.0: network}), Workspace(), kind=kind, damping=0.5
    )
    copies = (kernel * weights)[torch.arange(5), torch.arange(5)]
    assert (copies > 0).all()


def test_gradients_of_a_variant_that_do_not_fit_are_projected(data) -> None:
    x, y = data
    torch.manual_seed(2)
    variant = nn.Sequential(
        nn.Linear(4, 300), nn.Tanh(), nn.Linear(300, 300), nn.Tanh(), nn.Linear(300, 3)
    ).double()
    split = ((x[:N_TRAIN], y[:N_TRAIN]), (x[N_TRAIN:], y[N_TRAIN:]))
    exact = gradients_of(variant, TASK, *split, pass_mib=10, held_mib=1.0)
    with pytest.warns(
        Note, match="gradients are projected to 512 dimensions, except those of the last layer"
    ):
        found = gradients_of(variant, TASK, *split, pass_mib=10, held_mib=0.1)
    assert found.train.dense().nbytes + found.query.dense().nbytes <= 0.1 * 2**20
    wanted = exact.query.inner(exact.train)
    assert (found.query.inner(found.train) - wanted).norm() < 0.2 * wanted.norm()
    torch.testing.assert_close(found.loss_weight, exact.loss_weight)

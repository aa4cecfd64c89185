"""One small model per kind of layer, with data, in float64."""
# ruff: noqa: D101

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from proponent.features.gradients.capture import Capture, target_cotangents
from proponent.features.gradients.factored_gradients import FactoredGradients
from proponent.settings.tasks import Task

CLASSES = 3


class Pooled(nn.Module):
    """A body over a sequence (n, positions, width), averaged and read out."""

    def __init__(self, body: nn.Module, width: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean(1))


class First(nn.Module):
    """The first output of a layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]


class Attention(nn.Module):
    def __init__(self, batch_first: bool, cross: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=batch_first)
        self.batch_first = batch_first
        self.memory = nn.Parameter(torch.randn(2, 4)) if cross else None
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        keys = x if self.memory is None else self.memory.expand(len(x), -1, -1) + x.mean(1, keepdim=True)
        if not self.batch_first:
            x, keys = x.transpose(0, 1), keys.transpose(0, 1)
        out, _ = self.attention(x, keys, keys)
        return self.head(out.mean(1 if self.batch_first else 0))


class TiedLanguageModel(nn.Module):
    """Token and position embeddings, an encoder layer, and an output layer with the embedding's weight."""

    def __init__(self, tie: str = "module") -> None:
        super().__init__()
        self.tokens = nn.Embedding(CLASSES + 4, 4, padding_idx=1)
        self.positions = nn.Parameter(torch.randn(5, 4))
        self.layer = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True)
        self.readout = nn.Linear(4, CLASSES + 4)
        if tie == "module":
            self.readout.weight = self.tokens.weight
        self.tie = tie

    def forward(self, ids: Tensor) -> Tensor:
        hidden = self.layer(self.tokens(ids) + self.positions[: ids.shape[1]])
        if self.tie == "transpose":
            return (hidden @ self.tokens.weight.T)[:, -1]
        if self.tie == "rows":
            return (hidden @ self.tokens.weight[:CLASSES].T)[:, -1]
        return self.readout(hidden)[:, -1]


class ByHand(nn.Module):
    """Weights in @, addmm and einsum, a class token, a scale, an unused and a frozen parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 4))
        self.scale = nn.Parameter(torch.tensor(1.3))
        self.first = nn.Parameter(torch.randn(4, 5))
        self.second = nn.Parameter(torch.randn(5, 5))
        self.bias = nn.Parameter(torch.randn(5))
        self.third = nn.Parameter(torch.randn(CLASSES, 5))
        self.unused = nn.Parameter(torch.randn(2))
        self.frozen = nn.Parameter(torch.randn(5), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(len(x), 1, -1), x], 1) * self.scale
        hidden = torch.tanh(x @ self.first).sum(1) + self.frozen
        hidden = torch.addmm(self.bias, hidden, self.second).relu_()
        return torch.einsum("ni,ci->nc", hidden, self.third)


class Shared(nn.Module):
    """One linear layer used twice, and its bias used once more elsewhere."""

    def __init__(self, bias_elsewhere: bool) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.head = nn.Linear(4, CLASSES)
        self.bias_elsewhere = bias_elsewhere

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.inner(torch.tanh(self.inner(x))))
        if self.bias_elsewhere:
            hidden = hidden * self.inner.bias
        return self.head(hidden)


class HalfUsed(nn.Module):
    """A weight of a linear layer that also enters by its norm: it cannot be factored."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.inner(x)) / self.inner.weight.norm())


def _conv(body: nn.Module, width: int) -> nn.Module:
    return nn.Sequential(body, nn.Tanh(), nn.Flatten(), nn.Linear(width, CLASSES))


def _plain(*shape: int) -> Callable[[int], Tensor]:
    return lambda n: torch.randn(n, *shape)


def _ids(n: int) -> Tensor:
    return torch.randint(0, CLASSES + 4, (n, 5))


def _batch_norm() -> nn.Module:
    norm = nn.BatchNorm1d(4)
    norm.running_mean = torch.randn(4)
    norm.running_var = torch.rand(4) + 0.5
    return nn.Sequential(nn.Linear(4, 4), norm, nn.Tanh(), nn.Linear(4, CLASSES))


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Tensor]]] = {
    "linear": (lambda: nn.Linear(4, CLASSES), _plain(4)),
    "linear-no-bias": (lambda: nn.Linear(4, CLASSES, bias=False), _plain(4)),
    "mlp": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, CLASSES)),
        _plain(2, 3),
    ),
    "inplace-relu": (
        lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(5, CLASSES)),
        _plain(6),
    ),
    "sequence": (lambda: Pooled(nn.Sequential(nn.Linear(4, 5), nn.Tanh()), 5), _plain(6, 4)),
    "long-sequence": (lambda: Pooled(nn.Sequential(nn.Linear(2, 2), nn.Tanh()), 2), _plain(40, 2)),
    "wide-sequence": (lambda: Pooled(nn.Sequential(nn.Linear(60, 50), nn.Tanh()), 50), _plain(2, 60)),
    "conv1d": (lambda: _conv(nn.Conv1d(2, 3, 3, stride=2, padding=2, dilation=2), 12), _plain(2, 7)),
    "conv2d": (lambda: _conv(nn.Conv2d(2, 3, (3, 2), stride=(1, 2), padding=(1, 0)), 18), _plain(2, 3, 4)),
    "conv2d-same": (lambda: _conv(nn.Conv2d(2, 3, (2, 3), padding="same", bias=False), 36), _plain(2, 3, 4)),
    "conv2d-reflect": (
        lambda: _conv(nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), 36),
        _plain(2, 3, 4),
    ),
    "conv2d-groups": (lambda: _conv(nn.Conv2d(4, 4, 2, groups=2), 24), _plain(4, 3, 4)),
    "conv3d": (lambda: _conv(nn.Conv3d(1, 2, 2, padding=1), 96), _plain(1, 3, 3, 2)),
    "conv-transpose": (lambda: _conv(nn.ConvTranspose1d(2, 2, 3), 14), _plain(2, 5)),
    "embedding": (lambda: Pooled(nn.Embedding(CLASSES + 4, 4), 4), _ids),
    "layer-norm": (lambda: nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, CLASSES)), _plain(4)),
    "group-norm": (lambda: _conv(nn.Sequential(nn.Conv1d(2, 4, 2), nn.GroupNorm(2, 4)), 20), _plain(2, 6)),
    "batch-norm": (_batch_norm, _plain(4)),
    "attention": (lambda: Attention(batch_first=True, cross=False), _plain(5, 4)),
    "attention-sequence-first": (lambda: Attention(batch_first=False, cross=False), _plain(5, 4)),
    "cross-attention": (lambda: Attention(batch_first=True, cross=True), _plain(5, 4)),
    "encoder-layer": (lambda: Pooled(nn.TransformerEncoderLayer(4, 2, 6, batch_first=True), 4), _plain(5, 4)),
    "decoder-layer": (
        lambda: Pooled(nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 6, batch_first=True), 2), 4),
        _plain(5, 4),
    ),
    "tied": (lambda: TiedLanguageModel("module"), _ids),
    "tied-transpose": (lambda: TiedLanguageModel("transpose"), _ids),
    "tied-rows": (lambda: TiedLanguageModel("rows"), _ids),
    "by-hand": (ByHand, _plain(2, 4)),
    "shared": (lambda: Shared(bias_elsewhere=False), _plain(4)),
    "shared-bias-elsewhere": (lambda: Shared(bias_elsewhere=True), _plain(4)),
    "half-used": (HalfUsed, _plain(4)),
    "conv-transpose2d": (
        lambda: _conv(nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1), 75),
        _plain(2, 3, 3),
    ),
    "gru": (lambda: Pooled(First(nn.GRU(4, 3, batch_first=True)), 3), _plain(5, 4)),
    "weight-norm": (
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), nn.Linear(4, CLASSES)),
        _plain(4),
    ),
}


def build(name: str, n: int, seed: int = 0) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a model of :data:`MODELS` in float64 with n examples."""
    torch.manual_seed(seed)
    model, data = MODELS[name]
    module, x = model().double(), data(n)
    return module, x.double() if x.is_floating_point() else x, torch.randint(0, CLASSES, (n,))


def target_gradients(
    module: nn.Module, task: Task, x: Tensor, y: Tensor, memory_mib: int = 1000
) -> tuple[FactoredGradients, Tensor]:
    """Return the gradients of each example's target as a block, and the outputs (n, ...)."""
    return Capture(module, x[:1]).all_gradients(x, y, target_cotangents(task), memory_mib)

"""Kinds of layers that models have, one small model each: the rows of the table in ``docs/models.md``.

``test_layers.py`` proves every cell of the table, and ``layer_table.py`` writes it.
"""

# ruff: noqa: D101
from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.ao.nn.quantized import dynamic
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, prune
from torch.utils.checkpoint import checkpoint

ENGINES = ("lockstep", "capture", "curvature", "replay")
CLASSES = 3
N_TRAIN, N_QUERY = 6, 2

SHAPES = {
    "vectors": (6,),
    "sequences": (4, 6),
    "signals": (2, 7),
    "images": (2, 5, 5),
    "volumes": (2, 3, 3, 3),
}
TOKENS = 9
Run = Callable[[Any, Tensor], Any]


@dataclass(frozen=True)
class LayerCase:
    """One row of the table.

    Attributes:
        group: heading of the row's section.
        make: function that makes the layer under test.
        data: kind of the inputs, a key of :data:`SHAPES` or ``tokens``.
        run: function from the layer and its inputs to its outputs, of any shape (n, ...).
        wrap: function of the whole model; None for none.
        refused: text of the refusal by engine; an engine without an entry works.
    """

    group: str
    make: Callable[[], nn.Module]
    data: str
    run: Run
    wrap: Callable[[nn.Module], nn.Module] | None
    refused: Mapping[str, str]

    def build(self, seed: int = 0) -> nn.Module:
        """Return the model in float64."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            net: nn.Module = Net(self.make(), self.run, self.data)
            net = net if any(value.is_complex() for value in net.parameters()) else net.double()
            return self.wrap(net) if self.wrap else net


CASES: dict[str, LayerCase] = {}


class Net(nn.Module):
    """A layer between a scale of the inputs and a linear map of the outputs, so that derivatives pass through it."""

    def __init__(self, layer: nn.Module, run: Run, data: str) -> None:
        super().__init__()
        self.layer = layer
        self.run = run
        if data != "tokens":
            self.scale = nn.Parameter(torch.tensor(1.1))
        self.head = nn.Linear(WIDTHS.get(type(layer).__name__, 0) or _width(layer, run, data), CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.run(self.layer, x * self.scale if hasattr(self, "scale") else x)
        return self.head(torch.tanh(hidden.flatten(1)))


WIDTHS = {"LazyLinear": 5}
"""Widths of the outputs of layers that cannot be called before they are used."""


def _width(layer: nn.Module, run: Run, data: str) -> int:
    training = layer.training
    with torch.no_grad():
        width = run(layer.eval(), inputs(data)[0][:2].to(torch.float32 if data != "tokens" else torch.int64))
    layer.train(training)
    return math.prod(width.shape[1:])


def inputs(data: str) -> tuple[Tensor, Tensor]:
    """Return inputs, in float64 unless they are tokens, and labels of training examples and queries, in this order."""
    generator = torch.Generator().manual_seed(0)
    n = N_TRAIN + N_QUERY
    y = torch.arange(n) % CLASSES
    if data == "tokens":
        tokens = torch.randint(1, TOKENS, (n, 5), generator=generator)
        tokens[::2, 3:] = 0  # half of the rows end in padding
        return tokens, y
    shape = SHAPES[data]
    return torch.randn(n, *shape, generator=generator, dtype=torch.float64), y


def add(
    group: str,
    name: str,
    make: Callable[[], nn.Module],
    data: str = "vectors",
    run: Run = lambda layer, x: layer(x),
    wrap: Callable[[nn.Module], nn.Module] | None = None,
    refused: str | None = None,
    **by_engine: str,
) -> None:
    """Add a row; ``refused`` stands for the refusals of all engines."""
    reasons = dict.fromkeys(ENGINES, refused) if refused else by_engine
    CASES[name] = LayerCase(group, make, data, run, wrap, {e: r for e, r in reasons.items() if r})


class Holder(nn.Module):
    """A module with parameters or parts by name, for layers that are written as functions."""

    def __init__(self, **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


MOVING = "changes in training, which a replay cannot follow; leave it constant, or leave out the methods that replay"

BATCH = (
    "uses the statistics of the batch, so that no example has an output of its own; a replay of the training needs losses "
    "that are sums over examples: use GroupNorm or LayerNorm, or leave out the methods that replay"
)
UNTRACKED = "uses the statistics of the batch, so that no example has an output of its own; set track_running_stats=True"

NO_FORWARD = (
    "grid_sampler_2d has no derivative in forward mode, which Hessian and Gauss-Newton products need; use another layer, "
    "or leave out the methods that need them"
)
RANDOM = "it draws random numbers other than those of nn.Dropout; draw them in the dataset factory, or leave them out"


def weight(*shape: int) -> nn.Parameter:
    return nn.Parameter(0.4 * torch.randn(shape))


def _quietly(make: Callable[[], nn.Module]) -> nn.Module:
    """Return a module whose constructor warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


# ---------------------------------------------------------------- linear maps
LINEAR = "Linear maps"
add(LINEAR, "`Linear`", lambda: nn.Linear(6, 4))
add(LINEAR, "`Linear` at several positions", lambda: nn.Linear(6, 4), "sequences")
add(
    LINEAR,
    "a module used twice",
    lambda: nn.Linear(6, 6),
    run=lambda layer, x: layer(torch.tanh(layer(x))),
)


def _tied() -> nn.Module:
    pair = Holder(tokens=nn.Embedding(TOKENS, 4), out=nn.Linear(4, TOKENS, bias=False))
    pair.out.weight = pair.tokens.weight
    return pair


add(
    LINEAR,
    "tied weights (`Embedding` and `Linear`)",
    _tied,
    "tokens",
    lambda layer, x: layer.out(torch.tanh(layer.tokens(x))),
)
add(LINEAR, "`Bilinear`", lambda: nn.Bilinear(3, 3, 4), run=lambda layer, x: layer(x[:, :3], x[:, 3:]))
add(
    LINEAR,
    "`addmm`, the `Conv1D` of `transformers`",
    lambda: Holder(weight=weight(6, 4), bias=weight(4)),
    "sequences",
    lambda layer, x: torch.addmm(layer.bias, x.reshape(-1, 6), layer.weight).unflatten(0, (len(x), -1)),
)
add(
    LINEAR,
    "`einsum`",
    lambda: Holder(weight=weight(6, 4), other=weight(3, 4)),
    run=lambda layer, x: torch.einsum("ni,ij,cj->nc", x, layer.weight, layer.other),
)
add(
    LINEAR,
    "`bmm`, `baddbmm`",
    lambda: Holder(first=weight(6, 5), second=weight(5, 4), bias=weight(1, 4)),
    run=lambda layer, x: torch.baddbmm(
        layer.bias.expand(len(x), 1, -1),
        torch.bmm(x[:, None], layer.first.expand(len(x), -1, -1)),
        layer.second.expand(len(x), -1, -1),
    ),
)
add(
    LINEAR,
    "LoRA by hand, frozen base",
    lambda: Holder(base=nn.Linear(6, 4).requires_grad_(False), down=weight(2, 6), up=weight(4, 2)),
    run=lambda layer, x: layer.base(x) + x @ layer.down.T @ layer.up.T,
)
add(
    LINEAR,
    "low-rank addition to a weight",
    lambda: Holder(base=nn.Linear(6, 4), down=weight(2, 6), up=weight(4, 2)),
    run=lambda layer, x: F.linear(x, layer.base.weight + layer.up @ layer.down, layer.base.bias),
)

add(
    LINEAR,
    "filters as a matrix (patches by hand)",
    lambda: Holder(weight=weight(3, 2, 2, 2), bias=weight(3)),
    "images",
    lambda layer, x: (
        F.linear(F.unfold(x, 2).mT, layer.weight.flatten(1), layer.bias)
        + F.unfold(x, 2).mT @ layer.weight.flatten(1).T
    ),
)

# ---------------------------------------------------------------- convolutions
CONVOLUTION = "Convolutions and resampling"
add(CONVOLUTION, "`Conv1d`", lambda: nn.Conv1d(2, 3, 3), "signals")
add(CONVOLUTION, "`Conv2d`", lambda: nn.Conv2d(2, 3, 3), "images")
add(CONVOLUTION, "`Conv3d`", lambda: nn.Conv3d(2, 3, 2), "volumes")
add(
    CONVOLUTION,
    "strided, dilated, zero padding, `same`",
    lambda: nn.Sequential(
        nn.Conv2d(2, 3, 3, stride=2, padding=2, dilation=2), nn.Tanh(), nn.Conv2d(3, 2, 2, padding="same")
    ),
    "images",
)
for mode in ("circular", "reflect", "replicate"):
    add(
        CONVOLUTION,
        f"padding `{mode}`",
        lambda mode=mode: nn.Conv2d(2, 3, 3, padding=1, padding_mode=mode),
        "images",
    )
add(CONVOLUTION, "grouped", lambda: nn.Conv2d(2, 4, 3, groups=2), "images")
add(
    CONVOLUTION,
    "depthwise separable",
    lambda: nn.Sequential(nn.Conv1d(2, 2, 3, groups=2), nn.Conv1d(2, 3, 1)),
    "signals",
)
add(CONVOLUTION, "`ConvTranspose1d`", lambda: nn.ConvTranspose1d(2, 3, 3, stride=2), "signals")
add(
    CONVOLUTION,
    "`ConvTranspose2d`",
    lambda: nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1),
    "images",
)
add(CONVOLUTION, "`ConvTranspose3d`", lambda: nn.ConvTranspose3d(2, 1, 2, dilation=2), "volumes")
add(CONVOLUTION, "`ConvTranspose2d`, grouped", lambda: nn.ConvTranspose2d(2, 4, 2, groups=2), "images")
add(
    CONVOLUTION,
    "`Unfold`, `Fold`",
    lambda: nn.Sequential(nn.Unfold(2), nn.Conv1d(8, 8, 1), nn.Fold((5, 5), 2)),
    "images",
)
add(
    CONVOLUTION,
    "`PixelShuffle`, `PixelUnshuffle`",
    lambda: nn.Sequential(nn.Conv2d(2, 8, 2), nn.PixelShuffle(2), nn.PixelUnshuffle(4)),
    "images",
)
for mode in ("nearest", "bilinear", "bicubic"):
    add(
        CONVOLUTION,
        f"`Upsample`, {mode}",
        lambda mode=mode: nn.Sequential(nn.Upsample(scale_factor=1.5, mode=mode), nn.Conv2d(2, 2, 3)),
        "images",
    )
add(
    CONVOLUTION,
    "`MaxPool`, `AvgPool`, `LPPool`",
    lambda: nn.Sequential(
        nn.Conv2d(2, 4, 2), nn.MaxPool2d(2, 1), nn.AvgPool2d(2, 1), nn.LPPool2d(2, 2, stride=1)
    ),
    "images",
)
add(
    CONVOLUTION,
    "`AdaptiveAvgPool`, `AdaptiveMaxPool`",
    lambda: nn.Sequential(
        nn.Conv2d(2, 4, 2), nn.AdaptiveAvgPool2d(3), nn.Conv2d(4, 3, 1), nn.AdaptiveMaxPool2d(2)
    ),
    "images",
)
add(
    CONVOLUTION,
    "`grid_sample`, `affine_grid`",
    lambda: Holder(theta=weight(2, 3)),
    "images",
    lambda layer, x: F.grid_sample(
        x, F.affine_grid(layer.theta.expand(len(x), -1, -1), list(x.shape), False), align_corners=False
    ),
    curvature=NO_FORWARD,
    replay=NO_FORWARD,
)

# ---------------------------------------------------------------- embeddings
EMBEDDING = "Embeddings"
add(EMBEDDING, "`Embedding`", lambda: nn.Embedding(TOKENS, 4), "tokens")
add(EMBEDDING, "`Embedding`, `padding_idx`", lambda: nn.Embedding(TOKENS, 4, padding_idx=0), "tokens")
add(EMBEDDING, "`Embedding`, `sparse`", lambda: nn.Embedding(TOKENS, 4, sparse=True), "tokens")
for mode in ("sum", "mean", "max"):
    add(
        EMBEDDING,
        f"`EmbeddingBag`, {mode}",
        lambda mode=mode: nn.EmbeddingBag(TOKENS, 4, mode=mode, padding_idx=0),
        "tokens",
    )
add(
    EMBEDDING,
    "`EmbeddingBag`, weights per position",
    lambda: Holder(bag=nn.EmbeddingBag(TOKENS, 4, mode="sum"), factors=weight(5)),
    "tokens",
    lambda layer, x: layer.bag(x, per_sample_weights=layer.factors.expand(len(x), -1)),
)
add(
    EMBEDDING,
    "`EmbeddingBag`, offsets",
    lambda: nn.EmbeddingBag(TOKENS, 4),
    "tokens",
    lambda layer, x: layer(x.flatten(), torch.arange(0, x.numel(), x.shape[1])),
    refused="has the bags of several examples in one row (offsets); pass one row of tokens per example, padded with "
    "padding_idx",
)
add(
    EMBEDDING,
    "`max_norm`",
    lambda: nn.Embedding(TOKENS, 4, max_norm=1.0),
    "tokens",
    refused="changes its weight in the forward pass (max_norm); leave max_norm out",
)
add(
    EMBEDDING,
    "`scale_grad_by_freq`",
    lambda: nn.Embedding(TOKENS, 4, scale_grad_by_freq=True),
    "tokens",
    refused="scales gradients by how often the batch has a token (scale_grad_by_freq); leave this out",
)

# ---------------------------------------------------------------- normalisation
NORM = "Normalisation"


def _with_statistics(norm: Any, frozen: bool) -> Any:
    """Return a normalisation whose running statistics are not those of the start."""
    generator = torch.Generator().manual_seed(5)
    norm.running_mean = torch.randn(norm.num_features, generator=generator)
    norm.running_var = torch.rand(norm.num_features, generator=generator) + 0.5
    return Frozen(norm) if frozen else norm


class Frozen(nn.Sequential):
    """Parts that stay in eval mode while the model trains."""

    def train(self, mode: bool = True) -> Frozen:
        return super().train(False)


add(NORM, "`LayerNorm`", lambda: nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5)))
add(NORM, "`RMSNorm`", lambda: nn.Sequential(nn.Linear(6, 5), nn.RMSNorm(5)))
add(NORM, "`GroupNorm`", lambda: nn.Sequential(nn.Conv2d(2, 4, 2), nn.GroupNorm(2, 4)), "images")
add(
    NORM,
    "`InstanceNorm`",
    lambda: nn.Sequential(nn.Conv2d(2, 4, 2), nn.InstanceNorm2d(4, affine=True)),
    "images",
)
add(NORM, "`LocalResponseNorm`", lambda: nn.Sequential(nn.Conv2d(2, 4, 2), nn.LocalResponseNorm(2)), "images")
add(
    NORM,
    "`BatchNorm` in eval mode (frozen)",
    lambda: nn.Sequential(nn.Linear(6, 5), _with_statistics(nn.BatchNorm1d(5), True)),
)
for dimensions, data in ((1, "signals"), (2, "images"), (3, "volumes")):
    add(
        NORM,
        f"`BatchNorm{dimensions}d`",
        lambda dimensions=dimensions: nn.Sequential(
            getattr(nn, f"Conv{dimensions}d")(2, 4, 2), getattr(nn, f"BatchNorm{dimensions}d")(4)
        ),
        data,
        replay=BATCH,
    )
add(
    NORM,
    "`BatchNorm`, `momentum=None`",
    lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5, momentum=None)),
    replay=BATCH,
)
add(
    NORM,
    "`BatchNorm`, `track_running_stats=False`",
    lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5, track_running_stats=False)),
    capture=UNTRACKED,
    curvature=UNTRACKED,
    replay=BATCH,
)
add(
    NORM,
    "`InstanceNorm`, `track_running_stats=True`",
    lambda: nn.Sequential(nn.Conv2d(2, 4, 2), nn.InstanceNorm2d(4, track_running_stats=True)),
    "images",
    replay=MOVING,
)
add(
    NORM,
    "`normalize`, `cosine_similarity`",
    lambda: nn.Linear(6, 5),
    run=lambda layer, x: F.normalize(layer(x)),
)

# ---------------------------------------------------------------- computed weights
COMPUTED = "Weights that are computed"
add(COMPUTED, "`weight_norm`", lambda: parametrizations.weight_norm(nn.Linear(6, 4)))
add(
    COMPUTED,
    "`weight_norm` of old (`torch.nn.utils.weight_norm`)",
    lambda: _quietly(lambda: nn.utils.weight_norm(nn.Linear(6, 4))),
)
add(
    COMPUTED,
    "`spectral_norm`",
    lambda: parametrizations.spectral_norm(nn.Linear(6, 4)),
    replay=MOVING,
)
add(
    COMPUTED,
    "`spectral_norm` of old (`torch.nn.utils.spectral_norm`)",
    lambda: _quietly(lambda: nn.utils.spectral_norm(nn.Linear(6, 4))),
    replay=MOVING,
)
add(COMPUTED, "`orthogonal`", lambda: parametrizations.orthogonal(nn.Linear(6, 4)))


class Symmetric(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight.triu() + weight.triu(1).mT


def _symmetric() -> nn.Module:
    layer = nn.Linear(6, 6)
    parametrize.register_parametrization(layer, "weight", Symmetric())
    return layer


def _pruned() -> nn.Module:
    layer = nn.Linear(6, 4)
    prune.random_unstructured(layer, "weight", 0.5)
    return layer


add(COMPUTED, "a parametrization of one's own", _symmetric)
add(COMPUTED, "pruned (`torch.nn.utils.prune`)", _pruned)

# ---------------------------------------------------------------- activations
ACTIVATION = "Activations and dropout"
for name, layer in {
    "`ReLU`, in place": nn.ReLU(inplace=True),
    "`LeakyReLU`, in place": nn.LeakyReLU(inplace=True),
    "`GELU`, `SiLU`, `Mish`": nn.Sequential(nn.GELU(), nn.SiLU(), nn.Mish()),
    "`ELU`, in place": nn.ELU(inplace=True),
    "`SELU`, `CELU`": nn.Sequential(nn.SELU(), nn.CELU()),
    "`Hardswish`, `Hardtanh`": nn.Sequential(nn.Hardswish(), nn.Hardtanh()),
    "`GLU`": nn.GLU(),
    "`Softmax`, `LogSoftmax`": nn.Sequential(nn.Softmax(-1), nn.LogSoftmax(-1)),
}.items():
    add(ACTIVATION, name, lambda layer=layer: nn.Sequential(nn.Linear(6, 4), layer))
add(ACTIVATION, "`PReLU`, one weight", lambda: nn.Sequential(nn.Linear(6, 4), nn.PReLU()))
add(ACTIVATION, "`PReLU` per channel", lambda: nn.Sequential(nn.Conv2d(2, 3, 2), nn.PReLU(3)), "images")
add(
    ACTIVATION,
    "`RReLU`",
    nn.RReLU,
    lockstep=RANDOM,
    replay=RANDOM,
)
add(ACTIVATION, "`Dropout`, also in place", lambda: nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.3, True)))
for dimensions, data in ((1, "signals"), (2, "images"), (3, "volumes")):
    add(
        ACTIVATION,
        f"`Dropout{dimensions}d`",
        lambda dimensions=dimensions: nn.Sequential(
            getattr(nn, f"Conv{dimensions}d")(2, 4, 2), getattr(nn, f"Dropout{dimensions}d")(0.3)
        ),
        data,
    )
add(ACTIVATION, "`AlphaDropout`", lambda: nn.Sequential(nn.Linear(6, 8), nn.AlphaDropout(0.3)))
add(
    ACTIVATION,
    "`FeatureAlphaDropout`",
    lambda: nn.Sequential(nn.Conv2d(2, 4, 2), nn.FeatureAlphaDropout(0.3)),
    "images",
)

# ---------------------------------------------------------------- attention
ATTENTION = "Attention"


def _attend(layer: Any, x: Tensor) -> Tensor:
    return layer(x, x, x)[0]


def _attend_positions_first(layer: Any, x: Tensor) -> Tensor:
    return layer(*[x.transpose(0, 1)] * 3)[0].transpose(0, 1)


def _causal(layer: Any, x: Tensor) -> Tensor:
    mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1]).to(x)
    return layer(x, mask, is_causal=True)


add(
    ATTENTION,
    "`MultiheadAttention`",
    lambda: nn.MultiheadAttention(6, 2, batch_first=True),
    "sequences",
    _attend,
)
add(
    ATTENTION,
    "`MultiheadAttention`, positions first, dropout",
    lambda: nn.MultiheadAttention(6, 2, dropout=0.2),
    "sequences",
    _attend_positions_first,
)
add(
    ATTENTION,
    "`MultiheadAttention`, other widths, `bias_k`, `zero_attn`",
    lambda: nn.MultiheadAttention(
        6, 2, kdim=3, vdim=3, add_bias_kv=True, add_zero_attn=True, batch_first=True
    ),
    "sequences",
    lambda layer, x: layer(x, x[..., :3], x[..., 3:])[0],
)
add(
    ATTENTION,
    "`scaled_dot_product_attention`, causal",
    lambda: nn.Linear(6, 18),
    "sequences",
    lambda layer, x: F.scaled_dot_product_attention(*layer(x).chunk(3, -1), is_causal=True),
)
add(
    ATTENTION,
    "`TransformerEncoder`",
    lambda: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(6, 2, 5, batch_first=True), 2, enable_nested_tensor=False
    ),
    "sequences",
)
add(
    ATTENTION,
    "`TransformerEncoder`, causal mask, norm first",
    lambda: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(6, 2, 5, 0.0, F.gelu, batch_first=True, norm_first=True),
        1,
        enable_nested_tensor=False,
    ),
    "sequences",
    _causal,
)
add(
    ATTENTION,
    "`TransformerDecoder`",
    lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(6, 2, 5, batch_first=True), 1),
    "sequences",
    lambda layer, x: layer(x[:, :2], x[:, 2:]),
)


class Padded(nn.Module):
    """An encoder of tokens that attends to the tokens that are not padding."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(TOKENS, 4, padding_idx=0)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 5, batch_first=True), 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(self.tokens(x), src_key_padding_mask=x == 0)[:, 0]


add(ATTENTION, "`TransformerEncoder`, padding mask", Padded, "tokens")

# ---------------------------------------------------------------- recurrent layers
RECURRENT = "Recurrent layers"


def _outputs(layer: Any, x: Tensor) -> Tensor:
    return layer(x)[0]


for kind in ("LSTM", "GRU", "RNN"):
    add(
        RECURRENT,
        f"`{kind}`",
        lambda kind=kind: getattr(nn, kind)(6, 3, batch_first=True),
        "sequences",
        _outputs,
    )
    add(
        RECURRENT,
        f"`{kind}`, two layers, both directions",
        lambda kind=kind: getattr(nn, kind)(6, 2, 2, bidirectional=True, batch_first=True),
        "sequences",
        _outputs,
    )
add(
    RECURRENT,
    "`RNN` of `relu`, without biases",
    lambda: nn.RNN(6, 3, nonlinearity="relu", bias=False, batch_first=True),
    "sequences",
    _outputs,
)
add(
    RECURRENT,
    "`LSTM`, `proj_size`",
    lambda: nn.LSTM(6, 4, proj_size=2, batch_first=True),
    "sequences",
    _outputs,
)
add(
    RECURRENT,
    "`LSTM`, positions first, a trained initial state",
    lambda: Holder(body=nn.LSTM(6, 3), state=weight(1, 1, 3)),
    "sequences",
    lambda layer, x: layer.body(x.transpose(0, 1), (layer.state.expand(1, len(x), 3).contiguous(),) * 2)[1][
        0
    ][0],
)


class Reader(nn.Module):
    """An LSTM over padded tokens, read at the last token that is not padding."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(TOKENS, 3, padding_idx=0)
        self.body = nn.LSTM(3, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        lengths = (x != 0).sum(1)
        return self.body(self.tokens(x))[0][torch.arange(len(x)), lengths - 1]


add(RECURRENT, "`LSTM` over padded tokens, read at its last position", Reader, "tokens")


def _cells(layer: Any, x: Tensor) -> Tensor:
    zeros = x.new_zeros(len(x), 3)
    state: Any = (zeros, zeros) if isinstance(layer, nn.LSTMCell) else zeros
    for position in range(x.shape[1]):
        state = layer(x[:, position], state)
    return state[0] if isinstance(state, tuple) else state


for kind in ("LSTMCell", "GRUCell", "RNNCell"):
    add(RECURRENT, f"`{kind}`", lambda kind=kind: getattr(nn, kind)(6, 3), "sequences", _cells)


def _packed(layer: Any, x: Tensor) -> Tensor:
    rows = nn.utils.rnn.pack_padded_sequence(x, torch.full((len(x),), 3), batch_first=True)
    return layer(rows)[1][0]


add(
    RECURRENT,
    "packed sequences",
    lambda: nn.GRU(6, 3, batch_first=True),
    "sequences",
    _packed,
    refused="takes a packed sequence, whose layout depends on the other examples; pass padded sequences (n, length, "
    "width) and select the last position of each by its length",
)

# ---------------------------------------------------------------- parameters of their own
PARAMETER = "Parameters outside layers"
add(
    PARAMETER,
    "a scale per channel (LayerScale), a scalar",
    lambda: Holder(gate=weight(6), temperature=weight()),
    run=lambda layer, x: x * layer.gate * layer.temperature.exp(),
)
add(
    PARAMETER,
    "positions and a class token",
    lambda: Holder(token=weight(1, 6), positions=weight(5, 6)),
    "sequences",
    lambda layer, x: torch.cat([layer.token.expand(len(x), 1, 6), x], 1) + layer.positions,
)
add(
    PARAMETER,
    "`ParameterList`, `ParameterDict`",
    lambda: Holder(rows=nn.ParameterList([weight(6), weight(6)]), more=nn.ParameterDict({"bias": weight(2)})),
    run=lambda layer, x: x @ torch.stack(list(layer.rows)).T + layer.more["bias"],
)
add(
    PARAMETER,
    "weights made by a network (mixture of experts)",
    lambda: Holder(gate=nn.Linear(6, 2), experts=nn.ModuleList([nn.Linear(6, 3), nn.Linear(6, 3)])),
    run=lambda layer, x: (
        torch.stack([expert(x) for expert in layer.experts], -1) * layer.gate(x).softmax(-1)[:, None]
    ).sum(-1),
)
add(
    PARAMETER,
    "a frozen part, an unused parameter",
    lambda: Holder(base=nn.Linear(6, 6).requires_grad_(False), top=nn.Linear(6, 3), unused=weight(2)),
    run=lambda layer, x: layer.top(torch.tanh(layer.base(x))),
)
add(
    PARAMETER,
    "complex parameters",
    lambda: Holder(weight=nn.Parameter(torch.randn(6, 3, dtype=torch.complex64))),
    run=lambda layer, x: ((x + 0j) @ layer.weight).abs(),
    refused="'layer.weight' is complex; train real and imaginary parts as two parameters",
)
add(
    PARAMETER,
    "sparse parameters",
    lambda: Holder(weight=nn.Parameter(torch.eye(6).to_sparse())),
    run=lambda layer, x: torch.sparse.mm(layer.weight, x.to(layer.weight.dtype).T).T,
    refused="'layer.weight' is stored as a sparse tensor (torch.sparse_coo); store a dense one, with a mask as a buffer "
    "for what has to stay 0",
)

# ---------------------------------------------------------------- wrappers
WRAPPER = "Wrappers and ways of running"
add(WRAPPER, "`DataParallel`", lambda: nn.Linear(6, 4), wrap=nn.DataParallel)
add(WRAPPER, "`torch.compile`", lambda: nn.Linear(6, 4), wrap=torch.compile)
add(
    WRAPPER,
    "`checkpoint`, `use_reentrant=False`",
    lambda: nn.Linear(6, 4),
    run=lambda layer, x: checkpoint(layer, x, use_reentrant=False),
)
add(
    WRAPPER,
    "`checkpoint`, `use_reentrant=True`",
    lambda: nn.Linear(6, 4),
    run=lambda layer, x: checkpoint(layer, x, use_reentrant=True),
    refused="uses checkpointing with use_reentrant=True, which cannot be transformed; pass use_reentrant=False",
)
add(WRAPPER, "`torch.fx.GraphModule`", lambda: torch.fx.symbolic_trace(nn.Sequential(nn.Linear(6, 4))))
add(
    WRAPPER,
    "`torch.jit`",
    lambda: torch.jit.trace(nn.Linear(6, 4), torch.zeros(1, 6)),
    refused="is compiled by torch.jit; return the Python module from the model factory",
)
add(
    WRAPPER,
    "lazy layers",
    lambda: nn.LazyLinear(5),
    refused="has no shape before its first pass; give it its number of inputs",
)
add(
    WRAPPER,
    "quantised layers",
    lambda: dynamic.Linear(6, 4),
    run=lambda layer, x: layer(x.float()).to(x),
    refused="is neither a parameter nor a buffer (extra state, quantised weights); return the model without it",
)
add(
    WRAPPER,
    "a hook of the backward pass",
    lambda: _hooked(),
    refused="has a backward hook, which cannot be transformed; return the model without it",
)


def _hooked() -> nn.Module:
    layer = nn.Linear(6, 4)
    layer.register_full_backward_hook(lambda *_: None)
    return layer


class Doubled(torch.autograd.Function):
    """A function of the old form."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return slope * 2


class Tripled(torch.autograd.Function):
    """A function with rules for vmap and for derivatives in both directions."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x * 3

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return slope * 3

    @staticmethod
    def jvp(ctx: Any, slope: Tensor) -> Tensor:
        return slope * 3


add(
    WRAPPER,
    "`autograd.Function` with `setup_context`, `vmap` rule and `jvp`",
    lambda: nn.Linear(6, 4),
    run=lambda layer, x: Tripled.apply(layer(x)),
)
add(
    WRAPPER,
    "`autograd.Function` of the old form",
    lambda: nn.Linear(6, 4),
    run=lambda layer, x: Doubled.apply(layer(x)),
    refused="it uses a torch.autograd.Function (a backward hook is one) without setup_context and a rule for vmap; write "
    "it with operations of torch, or define both",
)

# ---------------------------------------------------------------- buffers and state
STATE = "Buffers that passes write"


class Counting(nn.Linear):
    """A layer that counts its passes in training."""

    def __init__(self) -> None:
        super().__init__(6, 4)
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.passes += 1
        return super().forward(x)


add(
    STATE,
    "a counter of passes",
    Counting,
    replay=MOVING,
)

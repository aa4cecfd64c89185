"""Small models of the kinds that users bring: each works in every engine, or is refused in one line."""

# ruff: noqa: D101
from __future__ import annotations

import functools
import random
import warnings
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

CLASSES = 3
N_TRAIN, N_QUERY = 12, 4
Forward = Callable[[Any, Tensor], Any]


@dataclass(frozen=True)
class Case:
    """A model, the kind of its inputs, and the expected refusals (patterns of the message; None if it works)."""

    make: Callable[[], nn.Module]
    data: str = "vectors"
    refused: str | None = None
    no_curvature: str | None = None
    no_replay: str | None = None


CASES: dict[str, Case] = {}


class By(nn.Module):
    """A model by its forward pass and its parts."""

    def __init__(self, forward: Forward, **parts: Any) -> None:
        super().__init__()
        self.run = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


def add(name: str, make: Callable[[], nn.Module], data: str = "vectors", **expected: str) -> None:
    CASES[name] = Case(make, data, **expected)


def inputs(data: str) -> tuple[Tensor, Tensor]:
    """Return inputs and labels of training examples and queries, one after the other."""
    generator = torch.Generator().manual_seed(0)
    n = N_TRAIN + N_QUERY
    y = torch.arange(n) % CLASSES
    shapes = {"vectors": (6,), "sequences": (4, 6), "channels": (4, 7), "images": (3, 6, 6)}
    if data in shapes:
        return torch.randn(n, *shapes[data], generator=generator) + y.reshape(n, *[1] * len(shapes[data])), y
    tokens = torch.randint(1, 10, (n, 6), generator=generator)
    tokens[:, 4:] *= torch.arange(n)[:, None] % 2  # half of the rows end in padding
    if data == "tokens":
        return tokens, y
    return {"integers": 3 * tokens, "booleans": tokens > 5}[data], y


def net(first: Any = None) -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 5), first or nn.Tanh(), nn.Linear(5, CLASSES))


def two(forward: Forward, **parts: Any) -> nn.Module:
    return By(forward, a=nn.Linear(6, 5), b=nn.Linear(5, CLASSES), **parts)


def hidden(self: Any, x: Tensor) -> Tensor:
    return torch.tanh(self.a(x))


def pooled(body: nn.Module, width: int = 5) -> nn.Module:
    """A recurrent body, read out at its last position."""
    return By(lambda s, x: s.head(s.body(x)[0][:, -1]), body=body, head=nn.Linear(width, CLASSES))


def bag(**options: Any) -> nn.Module:
    return By(
        lambda s, x: s.head(s.bag(x)), bag=nn.EmbeddingBag(30, 5, **options), head=nn.Linear(5, CLASSES)
    )


def weight(*shape: int) -> nn.Parameter:
    return nn.Parameter(0.4 * torch.randn(shape))


# ---------------------------------------------------------------- parameters that broadcast
add("prelu", lambda: net(nn.PReLU()))
add("prelu per channel", lambda: net(nn.PReLU(5)))
add(
    "prelu per channel of images",
    lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.PReLU(4), nn.Flatten(), nn.Linear(64, CLASSES)),
    "images",
)
add("prelu used twice", lambda: two(lambda s, x: s.b(s.p(s.a(s.p(x)))), p=nn.PReLU()))
add("prelu by torch.prelu", lambda: two(lambda s, x: s.b(torch.prelu(s.a(x), s.p)), p=weight(1)))
add("scalar temperature", lambda: two(lambda s, x: s.b(hidden(s, x)) * s.t.exp(), t=weight()))
add("layer scale", lambda: two(lambda s, x: s.b(hidden(s, x) * s.g), g=weight(5)))
add(
    "gate of channels",
    lambda: By(
        lambda s, x: s.h((s.c(x) * torch.sigmoid(s.g)).flatten(1)),
        c=nn.Conv2d(3, 2, 3),
        g=weight(2, 1, 1),
        h=nn.Linear(32, CLASSES),
    ),
    "images",
)
add(
    "positions and a class token",
    lambda: two(
        lambda s, x: s.b(hidden(s, torch.cat([s.t.expand(len(x), 1, 6), x], 1) + s.p).mean(1)),
        t=weight(1, 6),
        p=weight(5, 6),
    ),
    "sequences",
)
add(
    "lists and dictionaries of parameters",
    lambda: By(
        lambda s, x: torch.tanh(x @ s.p[0] + s.d["bias"]) @ s.p[1],
        p=nn.ParameterList([weight(6, 5), weight(5, CLASSES)]),
        d=nn.ParameterDict({"bias": weight(5)}),
    ),
)
add("an empty parameter", lambda: two(lambda s, x: s.b(hidden(s, x)) + s.e.sum(), e=weight(0)))
add("an unused parameter", lambda: two(lambda s, x: s.b(hidden(s, x)), e=weight(2)))
add(
    "centres of a radial basis",
    lambda: By(
        lambda s, x: s.h(torch.exp(-((x[:, None] - s.c) ** 2).sum(-1) * s.w)),
        c=weight(5, 6),
        w=weight(5),
        h=nn.Linear(5, CLASSES),
    ),
)

# ---------------------------------------------------------------- products by other names
add(
    "addmm by keyword",
    lambda: By(
        lambda s, x: torch.addmm(input=s.b, mat1=x, mat2=s.w), w=weight(6, CLASSES), b=weight(CLASSES)
    ),
)
add(
    "addmm with beta and alpha",
    lambda: By(
        lambda s, x: torch.addmm(s.b, x, s.w, beta=0.5, alpha=2.0), w=weight(6, CLASSES), b=weight(CLASSES)
    ),
)
add(
    "addmm as a method",
    lambda: By(lambda s, x: s.b.addmm(mat1=x, mat2=s.w), w=weight(6, CLASSES), b=weight(CLASSES)),
)
add(
    "mm, matmul and linear by keyword",
    lambda: By(
        lambda s, x: F.linear(
            input=torch.tanh(torch.matmul(input=torch.mm(input=x, mat2=s.u), other=s.v)), weight=s.w, bias=s.b
        ),
        u=weight(6, 5),
        v=weight(5, 5),
        w=weight(CLASSES, 5),
        b=weight(CLASSES),
    ),
)
add(
    "bmm and baddbmm",
    lambda: By(
        lambda s, x: torch.baddbmm(
            input=s.b.expand(len(x), 1, -1),
            batch1=torch.bmm(x[:, None], s.u.expand(len(x), -1, -1)),
            batch2=s.w.expand(len(x), -1, -1),
            alpha=0.5,
        )[:, 0],
        u=weight(6, 5),
        w=weight(5, CLASSES),
        b=weight(1, CLASSES),
    ),
)
add(
    "einsum",
    lambda: By(lambda s, x: torch.einsum("ni,ij,cj->nc", x, s.u, s.w), u=weight(6, 5), w=weight(3, 5)),
)
add(
    "low-rank addition to a weight",
    lambda: two(
        lambda s, x: s.b(torch.tanh(F.linear(x, s.a.weight + s.u @ s.d))), u=weight(5, 2), d=weight(2, 6)
    ),
)
add(
    "rows of a weight from a list",
    lambda: By(
        lambda s, x: x @ torch.stack(list(s.rows)).T,
        rows=nn.ParameterList([weight(6) for _ in range(CLASSES)]),
    ),
)
add("bilinear", lambda: By(lambda s, x: s.m(x[:, :3], x[:, 3:]), m=nn.Bilinear(3, 3, CLASSES)))
add(
    "weights from a network",
    lambda: By(
        lambda s, x: torch.einsum("ni,nij->nj", x, s.h(x).unflatten(1, (6, CLASSES))),
        h=nn.Linear(6, 6 * CLASSES),
    ),
)
add(
    "fourier transform",
    lambda: By(lambda s, x: s.h(torch.fft.rfft(x).abs()), h=nn.Linear(4, CLASSES)),
)

# ---------------------------------------------------------------- recurrent layers
for kind in ("LSTM", "GRU", "RNN"):
    add(kind, lambda kind=kind: pooled(getattr(nn, kind)(6, 5, batch_first=True)), "sequences")
add(
    "RNN of relu without biases",
    lambda: pooled(nn.RNN(6, 5, nonlinearity="relu", bias=False, batch_first=True)),
    "sequences",
)
add(
    "GRU in both directions",
    lambda: pooled(nn.GRU(6, 5, bidirectional=True, batch_first=True), 10),
    "sequences",
)
add(
    "LSTM of two layers with dropout",
    lambda: pooled(nn.LSTM(6, 5, 2, dropout=0.3, batch_first=True)),
    "sequences",
)
add("LSTM with a projection", lambda: pooled(nn.LSTM(6, 5, proj_size=2, batch_first=True), 2), "sequences")
add(
    "LSTM with positions first and a state",
    lambda: By(
        lambda s, x: s.h(s.r(x.transpose(0, 1), (s.s.expand(1, len(x), 5).contiguous(),) * 2)[1][0][0]),
        r=nn.LSTM(6, 5),
        s=weight(1, 1, 5),
        h=nn.Linear(5, CLASSES),
    ),
    "sequences",
)


def _cells(self: Any, x: Tensor) -> Tensor:
    state = x.new_zeros(len(x), 5), x.new_zeros(len(x), 5)
    for position in range(x.shape[1]):
        state = self.cell(x[:, position], state)
    return self.head(state[0])


add("LSTMCell", lambda: By(_cells, cell=nn.LSTMCell(6, 5), head=nn.Linear(5, CLASSES)), "sequences")


def _packed(self: Any, x: Tensor) -> Tensor:
    lengths = torch.full((len(x),), 3)
    rows = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
    return self.head(self.body(rows)[1][0])


add(
    "packed sequences",
    lambda: By(_packed, body=nn.GRU(6, 5, batch_first=True), head=nn.Linear(5, CLASSES)),
    "sequences",
    refused="packed sequence.*pass padded|cannot be trained in lockstep",
)

# ---------------------------------------------------------------- embeddings
for mode in ("sum", "mean", "max"):
    add(f"bag by {mode}", lambda mode=mode: bag(mode=mode, padding_idx=0), "tokens")
add("sparse bag", lambda: bag(sparse=True), "tokens")
add(
    "weighted bag",
    lambda: By(
        lambda s, x: s.h(F.embedding_bag(x, s.e, mode="sum", per_sample_weights=s.w.expand(len(x), -1))),
        e=weight(30, 5),
        w=weight(6),
        h=nn.Linear(5, CLASSES),
    ),
    "tokens",
)
add(
    "sparse embedding",
    lambda: By(lambda s, x: s.h(s.e(x).mean(1)), e=nn.Embedding(30, 5, sparse=True), h=nn.Linear(5, CLASSES)),
    "tokens",
)
add(
    "sparse embedding by function",
    lambda: By(
        lambda s, x: s.h(F.embedding(x, s.e, sparse=True).mean(1)), e=weight(30, 5), h=nn.Linear(5, CLASSES)
    ),
    "tokens",
)
add(
    "frozen embedding",
    lambda: By(
        lambda s, x: s.h(s.e(x).mean(1)), e=nn.Embedding(30, 5).requires_grad_(False), h=nn.Linear(5, CLASSES)
    ),
    "tokens",
)
for option, value in (("max_norm", 1.0), ("scale_grad_by_freq", True)):
    add(
        f"embedding with {option}",
        lambda option=option, value=value: By(
            lambda s, x: s.h(s.e(x).mean(1)),
            e=nn.Embedding(30, 5, **{option: value}),
            h=nn.Linear(5, CLASSES),
        ),
        "tokens",
        refused=rf"layer 'e' \(Embedding\).*{option}",
    )

# ---------------------------------------------------------------- norms and parametrisations
add("rms norm", lambda: net(nn.RMSNorm(5)))
add("batch norm", lambda: net(nn.BatchNorm1d(5)), no_replay=r"layer '1' \(BatchNorm1d\) uses the statistics")
add(
    "batch norm without running statistics",
    lambda: net(nn.BatchNorm1d(5, track_running_stats=False)),
    refused="batch normalisation without running statistics uses the statistics of the batch",
)
add(
    "instance norm with running statistics",
    lambda: nn.Sequential(
        nn.Unflatten(1, (2, 3)),
        nn.InstanceNorm1d(2, affine=True, track_running_stats=True),
        nn.Flatten(),
        net(),
    ),
    no_replay="the model's buffer '1.running_mean' changes in training",
)


class FrozenNorm(nn.Sequential):
    def train(self, mode: bool = True) -> FrozenNorm:
        super().train(mode)
        self[1].eval()
        return self


def _frozen_norm() -> nn.Module:
    norm = nn.BatchNorm1d(5)
    norm.running_mean, norm.running_var = torch.randn(5), torch.rand(5) + 0.5
    return FrozenNorm(nn.Linear(6, 5), norm, nn.Linear(5, CLASSES))


def _old_weight_norm() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(nn.utils.weight_norm(nn.Linear(6, 5)), nn.Tanh(), nn.Linear(5, CLASSES))


add("batch norm that stays in eval mode", _frozen_norm)
add(
    "weight norm", lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(6, 5)), nn.Linear(5, CLASSES))
)
add("weight norm of old", _old_weight_norm)
add(
    "orthogonal weight",
    lambda: nn.Sequential(parametrizations.orthogonal(nn.Linear(6, 5)), nn.Linear(5, CLASSES)),
)
add(
    "spectral norm",
    lambda: nn.Sequential(parametrizations.spectral_norm(nn.Linear(6, 5)), nn.Linear(5, CLASSES)),
    no_replay="buffer '0.parametrizations.weight.0._u' changes in training",
)


def _pruned() -> nn.Module:
    module = net()
    prune.random_unstructured(module[0], "weight", 0.5)
    return module


add("pruned weight", _pruned)
add(
    "transposed convolution",
    lambda: nn.Sequential(nn.ConvTranspose2d(3, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(128, CLASSES)),
    "images",
)
add(
    "in-place activations",
    lambda: nn.Sequential(
        nn.Linear(6, 5), nn.Dropout(0.2, inplace=True), nn.ReLU(inplace=True), nn.Linear(5, CLASSES)
    ),
)
add("in-place addition", lambda: two(lambda s, x: s.b(s.a(x).add_(1.0).mul_(2.0).tanh_())))

# ---------------------------------------------------------------- wrappers and outputs
Out = namedtuple("Out", "hidden logits")


@dataclass
class Output:
    logits: Tensor


add("data parallel", lambda: nn.DataParallel(net()))
add("data parallel inside", lambda: By(lambda s, x: s.m(x) + s.m.module[2].bias, m=nn.DataParallel(net())))
add("torch.compile", lambda: torch.compile(net()))
add("torch.compile of a part", lambda: two(lambda s, x: s.b(s.c(x)), c=torch.compile(nn.Linear(6, 5))))
add("a dictionary of outputs", lambda: two(lambda s, x: {"loss": None, "logits": s.b(hidden(s, x))}))
add("a named tuple of outputs", lambda: two(lambda s, x: Out(hidden(s, x), s.b(hidden(s, x)))))
add("a dataclass of outputs", lambda: two(lambda s, x: Output(s.b(hidden(s, x)))))
add(
    "a tuple of outputs",
    lambda: two(lambda s, x: (s.b(hidden(s, x)), x)),
    refused="returned a tuple; return one tensor",
)
add(
    "numpy outputs",
    lambda: two(lambda s, x: s.b(hidden(s, x)).detach().numpy()),
    refused="returned a ndarray",
)
add(
    "jit",
    lambda: torch.jit.script(net()),
    refused=r"the model \(RecursiveScriptModule\) is compiled by torch.jit",
)
add(
    "jit of a part",
    lambda: two(lambda s, x: s.b(s.j(x)), j=torch.jit.trace(nn.Linear(6, 5), torch.zeros(1, 6))),
    refused="layer 'j' .*torch.jit",
)
add(
    "lazy",
    lambda: nn.Sequential(nn.LazyLinear(5), nn.Linear(5, CLASSES)),
    refused=r"layer '0' \(LazyLinear\) has no shape",
)
add("meta", lambda: nn.Sequential(nn.Linear(6, CLASSES, device="meta")), refused="'0.weight' has no values")
add("a graph module", lambda: torch.fx.symbolic_trace(net()))

# ---------------------------------------------------------------- types
add("integers that the model casts", lambda: two(lambda s, x: s.b(hidden(s, x.float()))), "integers")
add("booleans that the model casts", lambda: two(lambda s, x: s.b(hidden(s, x.float()))), "booleans")
add("double inside", lambda: By(lambda s, x: s.n(x.double()), n=net().double()))
add("double", lambda: net().double(), refused="cannot process examples.*float32")
add(
    "bfloat16",
    lambda: By(lambda s, x: s.n(x.bfloat16()).float(), n=net().bfloat16()),
    refused=r"layer 'n.0' \(Linear\) computes in bfloat16, whose rounding",
)


def _autocast(self: Any, x: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return self.n(x).float()


add("autocast", lambda: By(_autocast, n=net()), refused="computes in bfloat16, whose rounding")
add(
    "complex",
    lambda: two(
        lambda s, x: s.b((x + 0j) @ s.w).abs(), w=nn.Parameter(torch.randn(6, 5, dtype=torch.complex64))
    ),
    refused="'w' is complex",
)
add(
    "two types",
    lambda: By(lambda s, x: s.d(s.a(x).double()), a=nn.Linear(6, 5), d=nn.Linear(5, CLASSES).double()),
    refused="several types: 'a.bias' is torch.float32 and 'd.bias' is torch.float64",
)

# ---------------------------------------------------------------- gradients of the model's own making


def _without_gradient(self: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        shift = self.c(x)
    return self.b(hidden(self, x) + shift)


class Doubled(torch.autograd.Function):
    """An autograd.Function of the old form."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return slope * 2


class Tripled(torch.autograd.Function):
    """An autograd.Function that vmap can transform, without a derivative in forward mode."""

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


def _hooked(hook: Callable[[nn.Sequential], object]) -> nn.Module:
    module = net()
    hook(module)
    return module


def _shares_memory() -> nn.Module:
    module = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, CLASSES))
    module[1].weight = nn.Parameter(module[0].weight.data)
    return module


def _tied() -> nn.Module:
    module = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Linear(6, CLASSES))
    module[2].weight = module[0].weight
    return module


add("stopped gradients", lambda: two(lambda s, x: s.b(hidden(s, x) + s.c(x).detach()), c=nn.Linear(6, 5)))
add("stopped gradients of a trained part", lambda: two(lambda s, x: s.b(hidden(s, x) + s.a(x).detach())))
add(
    "a part without gradients",
    lambda: two(_without_gradient, c=nn.Linear(6, 5)),
    no_curvature="derivatives in forward and backward mode differ",
)
add(
    "an old autograd.Function",
    lambda: two(lambda s, x: s.b(Doubled.apply(s.a(x)))),
    refused="setup_context and a rule for vmap",
)
add(
    "an autograd.Function",
    lambda: two(lambda s, x: s.b(Tripled.apply(s.a(x)))),
    no_curvature="has no curvature products",
)
add(
    "a backward hook",
    lambda: _hooked(lambda m: m[0].register_full_backward_hook(lambda *_: None)),
    refused=r"layer '0' \(Linear\) has a backward hook",
)
add(
    "a hook on a parameter",
    lambda: _hooked(lambda m: m[0].weight.register_hook(lambda g: 2 * g)),
    refused="'0.weight' has a gradient hook",
)
add("a forward hook", lambda: _hooked(lambda m: m[1].register_forward_hook(lambda *args: 1.5 * args[2])))
add("checkpointing", lambda: two(lambda s, x: s.b(checkpoint(s.a, x, use_reentrant=False))))
add(
    "reentrant checkpointing",
    lambda: two(lambda s, x: s.b(checkpoint(s.a, x, use_reentrant=True))),
    refused="pass use_reentrant=False",
)
add("shared memory", _shares_memory, refused="'1.weight' shares memory with '0.weight'")
add("tied weights", _tied)
add(
    "a module used twice",
    lambda: By(
        lambda s, x: s.h(torch.tanh(s.a(torch.tanh(s.a(x))))), a=nn.Linear(6, 6), h=nn.Linear(6, CLASSES)
    ),
)
add(
    "a frozen part",
    lambda: By(
        lambda s, x: s.h(hidden(s, x)), a=nn.Linear(6, 5).requires_grad_(False), h=nn.Linear(5, CLASSES)
    ),
)


def _keeps_a_tensor(self: Any, x: Tensor) -> Tensor:
    self.last = hidden(self, x)
    self.seen = {"all": [self.last]}
    return self.b(self.last)


add("a tensor kept from the last pass", lambda: two(_keeps_a_tensor))

# ---------------------------------------------------------------- batches, randomness and control flow


def _counts(self: Any, x: Tensor) -> Tensor:
    if self.training:
        self.calls += 1
    return self.b(hidden(self, x))


def _scales_by_count(self: Any, x: Tensor) -> Tensor:
    if self.training:
        self.calls = self.calls + 1
    return self.b(hidden(self, x) / (1 + self.calls))


def _counting(forward: Forward) -> nn.Module:
    module = two(forward)
    module.register_buffer("calls", torch.zeros(()))
    return module


def _fills_zeros(self: Any, x: Tensor) -> Tensor:
    out = torch.zeros(len(x), 5)
    out[:, :] = hidden(self, x)
    return self.b(out)


def _makes_a_layer(self: Any, x: Tensor) -> Tensor:
    if not hasattr(self, "late"):
        self.late = nn.Linear(5, CLASSES)
    return self.late(hidden(self, x))


def _drawn() -> float:
    return 1 + random.random()  # noqa: S311


def _drawn_by_numpy() -> float:
    return 1 + float(np.random.rand())  # noqa: NPY002


def _writes_to_its_input(self: Any, x: Tensor) -> Tensor:
    x += 1.0
    return self.b(hidden(self, x))


add(
    "batch mean",
    lambda: two(lambda s, x: s.b(hidden(s, x - x.mean(0)))),
    refused=r"the model \(By\) mixes the examples of a batch",
)
add(
    "in-batch similarities",
    lambda: two(lambda s, x: s.b((x @ x.T).softmax(-1) @ hidden(s, x))),
    refused=r"the model \(By\) mixes the examples",
)
add(
    "writes to its input",
    lambda: two(_writes_to_its_input),
    refused="changes its input in place; let it work on a copy",
)
add(
    "clamps its input",
    lambda: two(lambda s, x: s.b(hidden(s, x.clamp_(min=0)))),
    refused="changes its input in place",
)
for name, forward in (("counts its calls", _counts), ("is scaled by its calls", _scales_by_count)):
    add(name, lambda forward=forward: _counting(forward), no_replay="buffer 'calls' changes in training")
add(
    "fills a tensor of zeros",
    lambda: two(_fills_zeros),
    refused="writes into a tensor that was not made from its input",
)
add(
    "makes a layer in its first pass",
    lambda: two(_makes_a_layer),
    refused="makes the parameter or buffer 'late.weight'",
)
add(
    "boolean index",
    lambda: two(lambda s, x: s.b(hidden(s, x)) + x[x > 0].sum()),
    refused="use torch.where or a mask",
)
add(
    "branch on values",
    lambda: two(lambda s, x: s.b(hidden(s, x)) if x.sum() > 0 else s.b(-hidden(s, x))),
    refused="use torch.where",
)
add(
    "numbers of Python",
    lambda: two(lambda s, x: s.b(hidden(s, x)) * x.sum().item()),
    refused="values of tensors in Python",
)
add(
    "numpy inside",
    lambda: two(lambda s, x: s.b(hidden(s, x)) + float(np.sum(x.numpy()))),
    refused="cannot be trained in lockstep",
)
add(
    "python's random numbers",
    lambda: two(lambda s, x: s.b(hidden(s, x)) * _drawn()),
    refused="is random.*from random; draw",
)
add(
    "numpy's random numbers",
    lambda: two(lambda s, x: s.b(hidden(s, x)) * _drawn_by_numpy()),
    refused="is random.*from numpy.random; draw",
)
add(
    "torch's random numbers",
    lambda: two(lambda s, x: s.b(hidden(s, x) + torch.randn(5))),
    refused="draws random numbers",
)
add("alpha dropout", lambda: net(nn.AlphaDropout(0.2)))
add("rrelu", lambda: net(nn.RReLU()), refused=r"layer '1' \(RReLU\)")
add("no trainable parameter", lambda: net().requires_grad_(False), refused="no trainable parameter")


def _experts(self: Any, x: Tensor) -> Tensor:
    scores = self.gate(x)
    top = scores.topk(2, -1)
    shares = torch.zeros_like(scores).scatter(-1, top.indices, top.values.softmax(-1))
    return (torch.stack([expert(x) for expert in self.experts], -1) * shares[:, None]).sum(-1)


add(
    "mixture of experts",
    lambda: By(
        _experts, gate=nn.Linear(6, 3), experts=nn.ModuleList(nn.Linear(6, CLASSES) for _ in range(3))
    ),
)
add(
    "attention with extra keys",
    lambda: By(
        lambda s, x: s.h(s.a(x, x, x)[0].mean(1)),
        a=nn.MultiheadAttention(6, 2, add_bias_kv=True, add_zero_attn=True, batch_first=True),
        h=nn.Linear(6, CLASSES),
    ),
    "sequences",
)
add(
    "encoder layer",
    lambda: By(
        lambda s, x: s.h(s.a(x).mean(1)),
        a=nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True),
        h=nn.Linear(6, CLASSES),
    ),
    "sequences",
)


# ---------------------------------------------------------------- references and values behind the engines' back


def _closure() -> nn.Module:
    module = net()
    bias = module[2].bias
    return By(lambda s, x: s.m(x) * bias, m=module)


def _bound() -> nn.Module:
    module = two(lambda s, x: s.b(s.f(x)))
    module.f = functools.partial(F.linear, weight=module.a.weight, bias=module.a.bias)
    return module


def _listed(self: Any, x: Tensor) -> Tensor:
    return self.b(hidden(self, x)) + x @ self.kept[0].T


def _with_list() -> nn.Module:
    module = two(_listed, c=nn.Linear(6, CLASSES, bias=False))
    module.kept = [module.c.weight]
    return module


def _clamps_its_weight(self: Any, x: Tensor) -> Tensor:
    self.a.weight.data.clamp_(min=0.0)
    return self.b(hidden(self, x))


# A parameter that its attribute reaches as well has a gradient in both passes, but not the same one.
add("a parameter in a closure, too", _closure, refused="'m.2.bias'.* through a reference of its own")
add("a parameter in a bound function", _bound, refused="'a.(weight|bias)' through a reference of its own")
add("a parameter in a list", _with_list, refused="'c.weight' through a reference of its own")
add("clamps its weight", lambda: two(_clamps_its_weight), refused="changes its own 'a.weight'")
add(
    "outputs without gradients",
    lambda: two(lambda s, x: s.b(hidden(s, x)).detach()),
    refused="do not depend on a trainable",
)
add(
    "rounded outputs",
    lambda: two(lambda s, x: (s.b(hidden(s, x)) > 0).float()),
    refused="do not depend on a trainable",
)


def _kept_between_passes(self: Any, x: Tensor) -> Tensor:
    self.seen = torch.cat([getattr(self, "seen", x[:0]), x])
    return self.b(hidden(self, x))


def _fails_on_one(self: Any, x: Tensor) -> Tensor:
    return self.b(hidden(self, x)) * (1 // (len(x) - 1))


def _remembering(kept: Callable[[nn.Module], Tensor], **parts: Any) -> nn.Module:
    """Return a model that uses one of its fixed tensors through a list."""
    module = two(lambda s, x: s.b(hidden(s, x)) + x @ s.kept[0], **parts)
    if not parts:
        module.register_buffer("fixed", torch.randn(6, CLASSES))
    module.kept = [kept(module)]
    return module


add(
    "a frozen parameter in a list",
    lambda: _remembering(lambda m: m.fixed, fixed=weight(6, CLASSES).requires_grad_(False)),
    refused="differ in more than their parameters and buffers",
)
add(
    "a random buffer in a list",
    lambda: _remembering(lambda m: m.fixed),
    refused="differ in more than their parameters",
)
add(
    "a random tensor in a list",
    lambda: _remembering(lambda m: torch.randn(6, CLASSES)),
    refused="differ in more than",
)
add("a tensor kept between passes", lambda: two(_kept_between_passes), refused="kept from an earlier pass")
add(
    "a failure on one row",
    lambda: two(_fails_on_one),
    refused=r"the model \(By\) cannot be trained: .*by zero",
)
add(
    "an expanded parameter",
    lambda: By(lambda s, x: x @ s.w, w=nn.Parameter(torch.randn(6, 1).expand(6, 3))),
    refused="'w' is an expanded tensor",
)
add(
    "quantised weights",
    lambda: nn.Sequential(
        torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(6, 5)), {nn.Linear}),
        nn.Linear(5, CLASSES),
    ),
    refused="state dict holds '0.0.*neither a parameter nor a buffer",
)
add(
    "data of a parameter",
    lambda: two(lambda s, x: s.b(hidden(s, x)) + x @ s.c.data, c=weight(6, 3)),
    refused="uses .data.*use .detach",
)
add("vmap inside", lambda: two(lambda s, x: torch.vmap(lambda row: s.b(torch.tanh(s.a(row))))(x)))
add(
    "a derivative inside",
    lambda: two(
        lambda s, x: s.b(hidden(s, x)) + torch.func.grad(lambda rows: s.a(rows).tanh().sum())(x)[:, :3]
    ),
)
add(
    "one-hot tokens",
    lambda: By(lambda s, x: s.h(F.one_hot(x, 30).float().mean(1)), h=nn.Linear(30, CLASSES)),
    "tokens",
)
add(
    "adaptive softmax",
    lambda: By(
        lambda s, x: s.m.log_prob(s.a(x)), a=nn.Linear(6, 8), m=nn.AdaptiveLogSoftmaxWithLoss(8, 3, [1, 2])
    ),
)

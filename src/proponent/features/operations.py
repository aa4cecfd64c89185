"""Operations whose weights have factored gradients, and how their calls are seen.

A call is seen at the level of functions, not of modules, so that shared weights, functional code and
``nn.MultiheadAttention`` are covered; a weight is recognised by identity, also as a transposed view (``h @
w.T``) or as a slice of rows (the projections inside attention). Whatever is not seen here keeps its ordinary
derivative, and the capture writes those parameters' gradients out: nothing depends on this list being
complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from proponent.errors import UserError
from proponent.features.factors import Geometry


@dataclass(frozen=True)
class Use:
    """One call of an operation with a weight.

    Attributes:
        call: its place among all calls of such operations.
        kind: ``linear`` (input @ weightᵀ), ``matmul`` (input @ weight), ``conv`` or ``embedding``.
        weight: the parameter's name.
        start: first row of the parameter that the call uses.
        bias: the parameter's name, or None.
        bias_start: first element of the bias that the call uses.
        geometry: of a convolution.
        padding: token whose rows get no gradient, or -1.
        output: shape of the result for one example.
        input: shape of the operation's input for one example.
        from_x: whether the input is the data x itself, reshaped.
    """

    call: int
    kind: str
    weight: str
    start: int
    bias: str | None
    bias_start: int
    geometry: Geometry | None
    padding: int
    output: tuple[int, ...]
    input: tuple[int, ...]
    from_x: bool = False


@dataclass(frozen=True)
class _Call:
    """The arguments of an operation that matter, put in order."""

    kind: str
    input: Tensor
    weight: Tensor
    bias: Tensor | None
    rerun: Callable[[Tensor, Tensor | None], Tensor]
    geometry: Geometry | None = None
    padding: int = -1
    claimable: bool = True


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> _Call:
    return _Call("linear", input, weight, bias, lambda w, b: F.linear(input, w, b))


def _matmul(input: Tensor, other: Tensor) -> _Call:
    return _Call(
        "matmul",
        input,
        other,
        None,
        lambda w, b: torch.matmul(input, w),
        claimable=other.ndim == 2 and input.ndim > 0,
    )


def _addmm(bias: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> _Call:
    return _Call(
        "matmul",
        mat1,
        mat2,
        bias,
        lambda w, b: torch.addmm(b, mat1, w),  # type: ignore[arg-type]
        claimable=beta == alpha == 1 and bias.ndim == 1 and len(bias) == mat2.shape[1],
    )


def _embedding(
    weight: Tensor,
    indices: Tensor,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> _Call:
    if scale_grad_by_freq:
        raise UserError(
            "torch.embedding with scale_grad_by_freq has no per-example gradient; switch it off in the model"
        )
    return _Call(
        "embedding", indices, weight, None, lambda w, b: F.embedding(indices, w), padding=padding_idx
    )


def _convolution(dimensions: int) -> Callable[..., _Call]:
    function = (F.conv1d, F.conv2d, F.conv3d)[dimensions - 1]

    def bind(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> _Call:
        def each(value: Any) -> tuple[int, ...]:
            values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
            return values * dimensions if len(values) == 1 else values

        kernel, spread = tuple(weight.shape[2:]), each(dilation)
        if padding == "same":
            totals = [d * (k - 1) for d, k in zip(spread, kernel, strict=True)]
            pads = tuple((total // 2, total - total // 2) for total in totals)
        else:
            pads = tuple((p, p) for p in each(0 if padding == "valid" else padding))
        return _Call(
            "conv",
            input,
            weight,
            bias,
            lambda w, b: function(input, w, b, stride, padding, dilation, groups),
            geometry=Geometry(kernel, each(stride), spread, pads),
            # A grouped kernel is small: its gradients are written out instead.
            claimable=groups == 1,
        )

    return bind


def _refuse_batch_statistics(function: str, flag: int, keyword: str) -> Callable[..., None]:
    def check(*args: Any, **kwargs: Any) -> None:
        if kwargs.get(keyword, args[flag] if len(args) > flag else False):
            raise UserError(
                f"{function} uses the statistics of the batch even in eval mode: no example has a gradient of"
                " its own; keep running statistics (track_running_stats=True) or use GroupNorm"
            )

    return check


CLAIMS: dict[Any, Callable[..., _Call]] = {
    F.linear: _linear,
    torch.matmul: _matmul,
    Tensor.matmul: _matmul,
    Tensor.__matmul__: _matmul,
    torch.mm: _matmul,
    Tensor.mm: _matmul,
    torch.addmm: _addmm,
    torch.embedding: _embedding,
    F.conv1d: _convolution(1),
    F.conv2d: _convolution(2),
    F.conv3d: _convolution(3),
}


def _renormalised(*args: Any, **kwargs: Any) -> None:
    raise UserError(
        "nn.Embedding with max_norm changes its weight during the forward pass; use an embedding without it"
    )


REFUSALS: dict[Any, Callable[..., None]] = {
    torch.batch_norm: _refuse_batch_statistics("BatchNorm", 5, "training"),
    torch.embedding_renorm_: _renormalised,
}


class _Watch(TorchFunctionMode):
    """Sees every call of an operation in :data:`CLAIMS`, and refuses those in :data:`REFUSALS`."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one function; ``operation`` says what becomes of one that may have a claimed weight."""
        kwargs = kwargs or {}
        if func in REFUSALS:
            REFUSALS[func](*args, **kwargs)
        if func not in CLAIMS:
            return func(*args, **kwargs)
        self.calls += 1
        return self.operation(CLAIMS[func](*args, **kwargs), lambda: func(*args, **kwargs))

    def operation(self, call: _Call, run: Callable[[], Tensor]) -> Tensor:
        """Return the result of a call; ``run()`` is the call unchanged."""
        raise NotImplementedError


class Trace(_Watch):
    """Finds the uses of parameters on one example, and cuts them out of the derivative.

    A parameter that still has a derivative afterwards is used in some other way too.

    Args:
        names: the parameters' names, by the id of the tensors that stand for them.

    Attributes:
        uses: what was found, in order.
        inputs: what each use took in.
        last_linear: place of the last linear map among all calls, whether its weight is a parameter or
            computed.
    """

    def __init__(self, names: dict[int, str]) -> None:
        super().__init__()
        self.names = names
        self.last_linear: int | None = None
        self.uses: list[Use] = []
        self.inputs: list[Tensor] = []

    def operation(self, call: _Call, run: Callable[[], Tensor]) -> Tensor:
        """Record a call whose weight is a parameter, and run it with that parameter as a constant."""
        found = self._locate(call.weight) if call.claimable else None
        if call.kind == "linear" or (call.kind == "matmul" and found is not None):
            self.last_linear = self.calls - 1
        if found is None:
            return run()
        name, start, transposed = found
        kind = {"linear": "matmul", "matmul": "linear"}.get(call.kind, call.kind) if transposed else call.kind
        bias = self._locate(call.bias)
        constant = call.bias.detach() if call.bias is not None and bias is not None else call.bias
        output = call.rerun(call.weight.detach(), constant)
        self.uses.append(
            Use(
                call=self.calls - 1,
                kind=kind,
                weight=name,
                start=start,
                bias=bias[0] if bias is not None else None,
                bias_start=bias[1] if bias is not None else 0,
                geometry=call.geometry,
                padding=call.padding,
                output=tuple(output.shape),
                input=tuple(call.input.shape),
            )
        )
        self.inputs.append(call.input)
        return output

    def _locate(self, tensor: Tensor | None) -> tuple[str, int, bool] | None:
        """Return name, first row and whether transposed, of a parameter or of a view of one."""
        if tensor is None:
            return None
        if id(tensor) in self.names:
            return self.names[id(tensor)], 0, False
        base = tensor._base
        if base is None or id(base) not in self.names or tensor.ndim != base.ndim or base.ndim == 0:
            return None
        offset = tensor.storage_offset() - base.storage_offset()
        if offset % base.stride(0):
            return None
        start = offset // base.stride(0)
        if tensor.shape[1:] == base.shape[1:] and tensor.stride() == base.stride():
            return self.names[id(base)], start, False
        if tensor.ndim == 2 and len(tensor) == base.shape[1] and tensor.stride() == base.stride()[::-1]:
            return self.names[id(base)], start, True
        return None


class Replay(_Watch):
    """Adds a probe to the output of each traced use, and keeps what the use took in.

    Args:
        uses: what the trace found; a use is recognised by its place in the order of calls.
        probes: zeros of the uses' output shapes: the derivative with respect to a probe is that of the
            output.
        watched: place of one more call whose input is wanted, kept as ``seen``.
    """

    def __init__(self, uses: list[Use], probes: list[Tensor], watched: int | None = None) -> None:
        super().__init__()
        self.watched = watched
        self.seen: Tensor | None = None
        self.places = {use.call: index for index, use in enumerate(uses)}
        self.uses = uses
        self.probes = probes
        self.inputs: list[Tensor] = []

    def operation(self, call: _Call, run: Callable[[], Tensor]) -> Tensor:
        """Run the call, with its probe if it is one of the traced uses."""
        if self.calls - 1 == self.watched:
            self.seen = call.input
        index = self.places.get(self.calls - 1)
        output = run()
        if index is None:
            return output
        if output.shape != self.uses[index].output:
            raise UserError(
                "the model calls its layers in another order each time; it must be deterministic in eval mode"
            )
        self.inputs.append(call.input)
        return output + self.probes[index]


class _ConstantPadding(TorchFunctionMode):
    """Makes the padding row of an embedding a constant in forward derivatives too, as in backward ones."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one function."""
        if func is not torch.embedding:
            return func(*args, **(kwargs or {}))
        call = _embedding(*args, **(kwargs or {}))
        output = F.embedding(call.input, call.weight)
        if call.padding < 0:
            return output
        return torch.where((call.input == call.padding)[..., None], output.detach(), output)


@contextmanager
def deterministic_eval(module: nn.Module) -> Iterator[None]:
    """Run a module as it predicts: eval mode, no fused attention, its functions open to a mode.

    ``torch.nn.functional`` hands its composite functions (such as attention) to a mode as a whole; switching
    that off inside the block lets the mode see the linear maps within.
    """
    training = [part for part in module.modules() if part.training]
    checks = (
        "has_torch_function",
        "has_torch_function_unary",
        "has_torch_function_variadic",
        "_verify_batch_size",  # would say less about a BatchNorm without running statistics than our refusal
    )
    kept = {name: getattr(F, name) for name in checks}
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        for part in training:
            part.training = False
        for name in checks:
            setattr(F, name, lambda *args: False)
        torch.backends.mha.set_fastpath_enabled(False)
        with sdpa_kernel(SDPBackend.MATH), _ConstantPadding():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for name, check in kept.items():
            setattr(F, name, check)
        for part in training:
            part.training = True

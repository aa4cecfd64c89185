"""Operations whose weights have factored gradients.

Calls are seen at the level of functions, not of modules, so that shared weights, functional code and
``nn.MultiheadAttention`` are covered. A weight is recognised by identity, also as a transposed view (``h @ w.T``) or as
a slice of rows (the projections inside attention). Other operations keep their ordinary derivative, and the capture
writes the gradients of their parameters out, so that this list does not have to be complete.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from proponent.batch_statistics import batch_statistics_error
from proponent.errors import UserError
from proponent.features.gradients.factors import Geometry


@dataclass(frozen=True)
class Use:
    """One call of an operation with a weight.

    Attributes:
        call: index among all calls of such operations.
        kind: ``linear`` (input @ weightᵀ), ``matmul`` (input @ weight), ``conv``, ``conv_transpose`` or ``embedding``.
        weight: name of the weight.
        start: first row of the weight that the call uses.
        bias: name of the bias, or None.
        bias_start: first element of the bias that the call uses.
        geometry: geometry of a convolution; None for other kinds.
        padding: token whose rows get no gradient, or -1.
        output: shape of the result for one example.
        input: shape of the operation's input for one example.
        from_x: name of the input of the model that the input is, reshaped; None for a hidden tensor.
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
    from_x: str | None = None


@dataclass(frozen=True)
class Call:
    """The arguments of one call that matter here, under the same names for every operation."""

    kind: str
    input: Tensor
    weight: Tensor
    bias: Tensor | None
    rerun: Callable[[Tensor, Tensor | None], Tensor]
    geometry: Geometry | None = None
    padding: int = -1
    claimable: bool = True


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Call:
    return Call("linear", input, weight, bias, lambda w, b: F.linear(input, w, b))


def _matmul(input: Tensor, other: Tensor) -> Call:
    return Call(
        "matmul",
        input,
        other,
        None,
        lambda w, b: torch.matmul(input, w),
        claimable=other.ndim == 2 and input.ndim > 0,
    )


def _mm(input: Tensor, mat2: Tensor) -> Call:
    return _matmul(input, mat2)


def _addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Call:
    return Call(
        "matmul",
        mat1,
        mat2,
        input,
        lambda w, b: torch.addmm(b, mat1, w),  # type: ignore[arg-type]
        claimable=beta == alpha == 1 and input.ndim == 1 and len(input) == mat2.shape[1],
    )


def _embedding(
    weight: Tensor,
    indices: Tensor,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Call:
    if scale_grad_by_freq:
        raise UserError(
            "nn.Embedding with scale_grad_by_freq has no per-example gradient; switch scale_grad_by_freq off"
        )
    return Call("embedding", indices, weight, None, lambda w, b: F.embedding(indices, w), padding=padding_idx)


def _each(value: Any, dimensions: int) -> tuple[int, ...]:
    """Return an option of a convolution per spatial dimension."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return values * dimensions if len(values) == 1 else values


def _convolution(dimensions: int) -> Callable[..., Call]:
    function = (F.conv1d, F.conv2d, F.conv3d)[dimensions - 1]

    def convolution(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Call:
        kernel, spread = tuple(weight.shape[2:]), _each(dilation, dimensions)
        if padding == "same":
            totals = [d * (k - 1) for d, k in zip(spread, kernel, strict=True)]
            pads = tuple((total // 2, total - total // 2) for total in totals)
        else:
            pads = tuple((p, p) for p in _each(0 if padding == "valid" else padding, dimensions))
        return Call(
            "conv",
            input,
            weight,
            bias,
            lambda w, b: function(input, w, b, stride, padding, dilation, groups),
            geometry=Geometry(kernel, _each(stride, dimensions), spread, pads),
            # A grouped kernel is small, so that its gradients are written out instead.
            claimable=groups == 1,
        )

    return convolution


def _transposed_convolution(dimensions: int) -> Callable[..., Call]:
    function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[dimensions - 1]

    def convolution(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> Call:
        kernel, steps = tuple(weight.shape[2:]), _each(stride, dimensions)
        pads = tuple((p, p) for p in _each(padding, dimensions))
        # The gradient of the weight is that of a convolution from the outputs to the inputs: one place of the kernel per
        # input element, unless padding adds a place.
        fits = all(more < step for more, step in zip(_each(output_padding, dimensions), steps, strict=True))
        return Call(
            "conv_transpose",
            input,
            weight,
            bias,
            lambda w, b: function(input, w, b, stride, padding, output_padding, groups, dilation),
            geometry=Geometry(kernel, steps, _each(dilation, dimensions), pads),
            claimable=groups == 1 and fits,
        )

    return convolution


def _refuse_batch_statistics(*args: Any, **kwargs: Any) -> None:
    """Refuse ``torch.batch_norm`` (input, weight, bias, mean, variance, training, …) with statistics of the batch."""
    if kwargs.get("training", args[5] if len(args) > 5 else False):
        raise batch_statistics_error(
            "batch normalisation without running statistics",
            "set track_running_stats=True, or use GroupNorm or LayerNorm",
        )


def bind(function: Any, args: Any, kwargs: Any) -> Call | None:
    """Return the call of one of :data:`CLAIMS`; None if it has another form (``out=``, another overload)."""
    try:
        return CLAIMS[function](*args, **kwargs)
    except TypeError:
        return None


CLAIMS: dict[Any, Callable[..., Call]] = {
    F.linear: _linear,
    torch.matmul: _matmul,
    Tensor.matmul: _matmul,
    Tensor.__matmul__: _matmul,
    torch.mm: _mm,
    Tensor.mm: _mm,
    torch.addmm: _addmm,
    Tensor.addmm: _addmm,
    torch.embedding: _embedding,
    F.conv1d: _convolution(1),
    F.conv2d: _convolution(2),
    F.conv3d: _convolution(3),
    F.conv_transpose1d: _transposed_convolution(1),
    F.conv_transpose2d: _transposed_convolution(2),
    F.conv_transpose3d: _transposed_convolution(3),
}


def _renormalised(*args: Any, **kwargs: Any) -> None:
    raise UserError("nn.Embedding with max_norm changes its weight in the forward pass; leave max_norm out")


REFUSALS: dict[Any, Callable[..., None]] = {
    torch.batch_norm: _refuse_batch_statistics,
    torch.embedding_renorm_: _renormalised,
}

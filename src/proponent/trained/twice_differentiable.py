"""Operations from elementary ones, where torch has no correct derivative of a forward derivative.

The score of a pair is a forward derivative along a direction of parameter space, and its features are attributed by a
backward pass through it. In torch 2.13 that pass treats mean and deviation of ``layer_norm`` and ``instance_norm`` as
constants, without an error, and ``glu`` has no such derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


def _normalised(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    centred = x - x.mean(axes, keepdim=True)
    return centred * (centred.square().mean(axes, keepdim=True) + eps).rsqrt()


def _layer_norm(
    x: Tensor,
    shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
    **__: Any,
) -> Tensor:
    found = _normalised(x, tuple(range(-len(shape), 0)), eps)
    found = found if weight is None else found * weight
    return found if bias is None else found + bias


def _instance_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    *_: Any,
    **__: Any,
) -> Tensor:
    def per_channel(values: Tensor) -> Tensor:
        return values.view(-1, *[1] * (x.ndim - 2))

    if use_input_stats or running_mean is None or running_var is None:
        found = _normalised(x, tuple(range(2, x.ndim)), eps)
    else:
        found = (x - per_channel(running_mean)) * (per_channel(running_var) + eps).rsqrt()
    found = found if weight is None else found * per_channel(weight)
    return found if bias is None else found + per_channel(bias)


def _glu(x: Tensor, dim: int = -1) -> Tensor:
    first, second = x.chunk(2, dim)
    return first * second.sigmoid()


_FUNCTIONS: dict[Any, Callable[..., Tensor]] = {
    torch.layer_norm: _layer_norm,
    torch.instance_norm: _instance_norm,
    torch._C._nn.glu: _glu,
}


class TwiceDifferentiable(TorchFunctionMode):
    """Computes these operations from elementary ones within the block."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one function, or its replacement."""
        return _FUNCTIONS.get(func, func)(*args, **(kwargs or {}))

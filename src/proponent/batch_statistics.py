"""Batch normalisation: its statistics of the kept examples only, or none of the batch, and their refusal."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F

from proponent.errors import UserError
from proponent.torch_compat import replaced


@contextmanager
def statistics_of(kept: Tensor) -> Iterator[None]:
    """Let batch normalisation take its statistics from the kept examples of a batch only, within the block.

    An example that is left out then has no effect on the others, as if it were not in the batch. Where fewer than two
    values are kept, the running statistics stay as they are, and the normalised values are 0.

    Args:
        kept: (b,) 1 for a kept example, 0 for one that is left out.
    """
    plain = F.batch_norm

    def batch_norm(
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training:
            return plain(input, running_mean, running_var, weight, bias, False, momentum, eps)
        rows_per_example, rest = divmod(len(input), len(kept))
        if rest:
            raise UserError(
                f"batch normalisation of {len(input)} rows for {len(kept)} examples: designs that leave out examples by "
                "weight (loo, subsets_fixed_seed) need the same number of rows per example; leave out these designs"
            )
        # Like torch's own kernels, compute in float32 for inputs of autocast.
        wide = input.float() if input.dtype in (torch.bfloat16, torch.float16) else input
        share = kept.repeat_interleave(rows_per_example).to(wide.dtype)
        share = share.reshape(-1, *(1,) * (input.ndim - 1))
        channels = (1, -1, *(1,) * (input.ndim - 2))
        axes = (0, *range(2, input.ndim))
        count = share.sum() * math.prod(input.shape[2:])
        mean = (wide * share).sum(axes) / count.clamp_min(1)
        centred = wide - mean.reshape(channels)
        variance = (centred.square() * share).sum(axes) / count.clamp_min(1)
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                rate = momentum * (count > 1).to(wide.dtype)
                unbiased = variance * count / (count - 1).clamp_min(1)
                running_mean.add_(rate * (mean - running_mean))
                running_var.add_(rate * (unbiased - running_var))
        values = centred * (variance + eps).rsqrt().reshape(channels)
        if weight is not None:
            values = values * weight.reshape(channels)
        return (values if bias is None else values + bias.reshape(channels)).to(input.dtype)

    with replaced({"batch_norm": batch_norm}):
        yield


@contextmanager
def running_statistics() -> Iterator[None]:
    """Let batch normalisation use its running statistics in training mode too, and change none, within the block.

    A model then treats each example alone, unless something other than batch normalisation mixes them.
    """
    plain = F.batch_norm

    def batch_norm(
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if running_mean is None:
            running_mean, running_var = input.new_zeros(input.shape[1]), input.new_ones(input.shape[1])
        return plain(input, running_mean, running_var, weight, bias, False, momentum, eps)

    with replaced({"batch_norm": batch_norm}):
        yield


def batch_statistics_error(layer: str, remedy: str) -> UserError:
    """Return the error for a layer whose output for one example depends on the others of its batch.

    Such a model has no per-example gradients: the effect of an example cannot be separated from that of its batch.

    Args:
        layer: subject of the message: the layer, as the user knows it.
        remedy: end of the message: the change to make.
    """
    return UserError(
        f"{layer} uses the statistics of the batch, so that no example has an output of its own; {remedy}"
    )

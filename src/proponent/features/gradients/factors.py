"""Factors of a weight's gradient: the inputs of an operation, and the gradients of its outputs.

The gradient of one example with respect to a weight matrix W (rows, columns) is a sum over positions t (and
over the uses of W, where it is shared) of outer products ``left_t right_tᵀ``. For a linear layer ``left`` is
the gradient of the layer's output and ``right`` its input; for an embedding ``left`` is the one-hot token,
stored as its number; for a convolution ``right`` is the patch under the kernel, unfolded only where needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Geometry:
    """Geometry of a convolution: sizes and steps of its kernel, per spatial dimension."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    """Zeros added before and after, per spatial dimension."""

    def positions(self, spatial: tuple[int, ...]) -> int:
        """Return the number of places of the kernel on an input of ``spatial`` size."""
        return math.prod(
            (size + sum(pad) - dilation * (kernel - 1) - 1) // stride + 1
            for size, pad, dilation, kernel, stride in zip(
                spatial, self.padding, self.dilation, self.kernel, self.stride, strict=True
            )
        )

    def unfold(self, images: Tensor) -> Tensor:
        """Return the patches (n, positions, channels * kernel) of ``images`` (n, channels, *spatial).

        In memory positions are innermost, as in the images, which is copied up to eight times as fast.
        """
        pads = [amount for pair in reversed(self.padding) for amount in pair]
        patches = F.pad(images, pads)
        for axis, (kernel, stride, dilation) in enumerate(
            zip(self.kernel, self.stride, self.dilation, strict=True), start=2
        ):
            patches = patches.unfold(axis, (kernel - 1) * dilation + 1, stride)[..., ::dilation]
        dimensions = len(self.kernel)
        places, kernels = range(2, 2 + dimensions), range(2 + dimensions, 2 + 2 * dimensions)
        patches = patches.permute(0, 1, *kernels, *places)
        return patches.reshape(len(images), math.prod(patches.shape[1 : 2 + dimensions]), -1).mT


@dataclass(frozen=True)
class Factor:
    """One side of the outer products of n examples.

    Attributes:
        values: (n, positions, width), or token numbers (n, positions), or images (n, images, channels,
            *spatial).
        tokens: size of the vocabulary if ``values`` are token numbers, else 0.
        geometry: geometry of the convolution if ``values`` are images, else None.
        from_x: name of the input of the model that ``values`` are, so that they need not be stored again; None otherwise.
    """

    values: Tensor
    tokens: int = 0
    geometry: Geometry | None = None
    from_x: str | None = None

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Any) -> Factor:
        return Factor(self.values[rows], self.tokens, self.geometry, self.from_x)

    @property
    def width(self) -> int:
        """Number of columns of the matrix that this factor stands for."""
        if self.tokens:
            return self.tokens
        if self.geometry is not None:
            return self.values.shape[2] * math.prod(self.geometry.kernel)
        return self.values.shape[2]

    @property
    def positions(self) -> int:
        """Number of outer products of one example."""
        if self.geometry is not None:
            return self.values.shape[1] * self.geometry.positions(tuple(self.values.shape[3:]))
        return self.values.shape[1]

    @property
    def positions_innermost(self) -> bool:
        """Whether the values are a transposed view of (n, width, positions) in memory, such as those of an image."""
        return self.values.ndim == 3 and not self.values.is_contiguous() and self.values.mT.is_contiguous()

    def dense(self, dtype: torch.dtype) -> Tensor:
        """Return the factor as a matrix (n, positions, width); tokens become one-hot rows of ``dtype``."""
        if self.tokens:
            return F.one_hot(self.values, self.tokens).to(dtype)
        if self.geometry is not None:
            patches = self.geometry.unfold(self.values.flatten(0, 1))
            return patches.reshape(len(self), self.positions, self.width)
        return self.values

    def narrow(self, start: int, stop: int) -> Factor:
        """Return columns ``start`` to ``stop`` of a factor that holds plain values."""
        if (start, stop) == (0, self.width):
            return self
        return Factor(self.values[..., start:stop])


def factor_gram(left: Factor, right: Factor, dtype: torch.dtype) -> Tensor:
    """Return all inner products of positions, (len(left) * positions, len(right) * positions)."""
    if left.tokens and right.tokens:
        return (left.values.reshape(-1, 1) == right.values.reshape(1, -1)).to(dtype)
    if left.tokens:
        return right.dense(dtype).flatten(0, 1).T[left.values.flatten()]
    if right.tokens:
        return left.dense(dtype).flatten(0, 1)[:, right.values.flatten()]
    return left.dense(dtype).flatten(0, 1) @ right.dense(dtype).flatten(0, 1).T


@dataclass(frozen=True)
class Term:
    """One use of a weight: ``sum_t left_t right_tᵀ`` in the weight's rows from ``start`` on."""

    left: Factor
    right: Factor
    start: int = 0

    @property
    def stop(self) -> int:
        """End of the range of the weight's rows that the use touches, exclusive."""
        return self.start + self.left.width

    @property
    def positions(self) -> int:
        """Number of outer products of one example."""
        return self.left.positions

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the values."""
        return (self.right if self.left.tokens else self.left).values.dtype

    def overlaps(self, other: Term) -> bool:
        """Return whether the two uses have rows of the weight in common."""
        return max(self.start, other.start) < min(self.stop, other.stop)

    def __len__(self) -> int:
        return len(self.left)

    def __getitem__(self, rows: Any) -> Term:
        return Term(self.left[rows], self.right[rows], self.start)

    def add_to(self, out: Tensor, low: int, high: int) -> None:
        """Add the gradient's rows ``low`` to ``high`` to ``out`` (n, high - low, columns), in place."""
        start, stop = max(low, self.start), min(high, self.stop)
        if start >= stop:
            return
        if self.left.tokens:
            tokens = self.left.values
            inside = (tokens >= low) & (tokens < high)
            example, position = inside.nonzero(as_tuple=True)
            where = (example, tokens[inside] - low)
            out.index_put_(where, self.right.dense(out.dtype)[example, position], accumulate=True)
            return
        left = self.left.values[..., start - self.start : stop - self.start]
        right = self.right.dense(out.dtype)
        target = out[:, start - low : stop - low]
        if self.positions == 1:
            target.addcmul_(left[:, 0, :, None], right[:, 0, None, :])
        elif len(out):
            target.baddbmm_(left.transpose(1, 2), right)

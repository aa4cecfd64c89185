"""A tensor whose rows are in several tensors, such as the maps of several files."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from proponent.chunking import chunks

_aten = torch.ops.aten


class ShardedTensor(Tensor):
    """Rows of several tensors, one after the other.

    Ranges and indices of rows are read from the shards that have them. A reshape that keeps the rows is one of each shard.
    Any other operation first joins all shards in memory.

    Args:
        shards: (n, …) tensors that differ in their number of rows only.
    """

    shards: list[Tensor]

    def __new__(cls, shards: Sequence[Tensor]) -> ShardedTensor:
        """Return a tensor without memory of its own."""
        first = shards[0]
        size = (sum(map(len, shards)), *first.shape[1:])
        made: ShardedTensor = Tensor._make_wrapper_subclass(cls, size, dtype=first.dtype, device=first.device)
        return made

    def __init__(self, shards: Sequence[Tensor]) -> None:
        self.shards = list(shards)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation shard by shard if it allows that, and on the joined tensor otherwise."""
        by_shards = _BY_SHARDS.get(func)
        if by_shards is not None and isinstance(args[0], cls) and not kwargs:
            found = by_shards(*args)
            if found is not None:
                return found
        args, kwargs = tree_map_only(cls, cls.joined, (args, kwargs or {}))
        return func(*args, **kwargs)

    def __repr__(self) -> str:  # type: ignore[override]
        return f"ShardedTensor({len(self.shards)} shards, {self.dtype} {tuple(self.shape)})"

    def joined(self) -> Tensor:
        """Return a copy of all rows in memory."""
        return torch.cat(self.shards)

    def stops(self) -> list[int]:
        """Return the number of rows up to the end of each shard."""
        return list(accumulate(map(len, self.shards)))


def _range(x: ShardedTensor, dim: int = 0, start: int | None = None, stop: Any = None, step: int = 1) -> Any:
    """Return a range of the rows; within one shard, it shares the memory of the shard."""
    if dim != 0 or step != 1:
        return None
    first, last, _ = slice(start, stop).indices(len(x))
    parts = [
        shard[max(first - end + len(shard), 0) : last - end + len(shard)]
        for shard, end in zip(x.shards, x.stops(), strict=True)
        if end - len(shard) < last and first < end
    ]
    if not parts:
        return x.shards[0][:0]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _row(x: ShardedTensor, dim: int, index: int) -> Any:
    if dim != 0:
        return None
    place = range(len(x))[index]
    shard = bisect.bisect_right(x.stops(), place)
    return x.shards[shard][place - x.stops()[shard]]


def _rows(x: ShardedTensor, index: Tensor) -> Tensor:
    """Return the rows with these indices."""
    index = torch.where(index < 0, index + len(x), index)
    if bool(((index < 0) | (index >= len(x))).any()):
        raise IndexError(f"an index of a row is out of bounds for {len(x)} rows")
    found = x.shards[0].new_empty((*index.shape, *x.shape[1:]))
    start = 0
    for shard in x.shards:
        inside = (index >= start) & (index < start + len(shard))
        found[inside] = shard[index[inside] - start]
        start += len(shard)
    return found


def _by_index(x: ShardedTensor, indices: Sequence[Tensor | None]) -> Any:
    (index, *others) = indices
    if others or index is None:
        return None
    return _rows(x, index.nonzero().flatten() if index.dtype == torch.bool else index)


def _reshaped(x: ShardedTensor, shape: Sequence[int]) -> Any:
    if not shape or shape[0] != len(x):
        return None
    return ShardedTensor([shard.reshape(len(shard), *shape[1:]) for shard in x.shards])


def _split(x: ShardedTensor, size: int, dim: int = 0) -> Any:
    return [_range(x, 0, rows.start, rows.stop) for rows in chunks(len(x), size)] if dim == 0 else None


_BY_SHARDS: dict[Any, Callable[..., Any]] = {
    _aten.slice.Tensor: _range,
    _aten.select.int: _row,
    _aten.split.Tensor: _split,
    _aten.index.Tensor: _by_index,
    _aten.index_select.default: lambda x, dim, index: _rows(x, index) if dim == 0 else None,
    _aten.view.default: _reshaped,
    _aten._unsafe_view.default: _reshaped,
    _aten.detach.default: lambda x: ShardedTensor(x.shards),
    _aten.alias.default: lambda x: ShardedTensor(x.shards),
}

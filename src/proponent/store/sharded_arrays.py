"""Training data as files: one file up to a size, otherwise the inputs in several, which are read as one array.

The first file always has the labels. Where it has no inputs, its metadata states the number of files that have them, with
some of the rows each: ``train-00001.safetensors`` and so on, next to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from proponent.store.arrays import map_arrays, open_arrays

if TYPE_CHECKING:
    from proponent.store.arrays import Array

FILE_BYTES = 4 * 2**30
"""Bytes of inputs up to which they are in one file: the largest file of many file systems and object stores."""
COUNT = "shards"
"""Name of the number of files in the metadata."""


def rows_per_file(bytes_of_row: int, n: int) -> int:
    """Return the number of rows per file; ``n`` if one file has them all."""
    return n if n * bytes_of_row <= FILE_BYTES else max(1, FILE_BYTES // bytes_of_row)


def shard_path(first: Path, shard: int) -> Path:
    """Return the path of a file of inputs, counted from 1."""
    return first.with_name(f"{first.stem}-{shard:05d}{first.suffix}")


def shard_paths(first: Path) -> list[Path]:
    """Return the paths of all files of inputs; none if the first file has the inputs."""
    with open_arrays(first) as (_, _, metadata):
        return [shard_path(first, shard + 1) for shard in range(int(metadata.get(COUNT, 0)))]


def read_shards(
    first: Path, read: Callable[[Path], Mapping[str, Any]], join: Callable[[list[Any]], Any]
) -> dict[str, Any]:
    """Return everything by name, where inputs in several files are joined.

    Args:
        first: the first file.
        read: function that maps a file.
        join: function that makes one array of those of all files.
    """
    shards = [read(path) for path in shard_paths(first)]
    inputs = {name: join([shard[name] for shard in shards]) for name in (shards[0] if shards else ())}
    return {**inputs, **read(first)}


class ShardedArray:
    """Rows of several arrays, one after the other; a NumPy function joins them in memory.

    Args:
        shards: (n, …) arrays that differ in their number of rows only.
    """

    def __init__(self, shards: list[Array]) -> None:
        self.shards = shards
        self.dtype = shards[0].dtype
        self.shape = (sum(map(len, shards)), *shards[0].shape[1:])
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Any:
        """Return a row, or what an index of the joined array returns."""
        if not isinstance(rows, (int, np.integer)):
            return np.concatenate(self.shards)[rows]
        place = range(len(self))[int(rows)]
        for shard in self.shards:
            if place < len(shard):
                return shard[place]
            place -= len(shard)
        raise AssertionError  # a range has refused other indices

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Return all rows in memory."""
        return np.concatenate(self.shards).astype(dtype or self.dtype, copy=False)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # NumPy asks for other protocols of arrays
            raise AttributeError(name)
        return getattr(np.concatenate(self.shards), name)


def map_sharded(first: Path) -> dict[str, Any]:
    """Return all arrays by name, those of several files as a :class:`ShardedArray`."""
    return read_shards(first, map_arrays, ShardedArray)

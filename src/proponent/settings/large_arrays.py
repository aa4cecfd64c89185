"""Arrays of rows that are larger than memory should hold: maps of files without a name, which end with the process."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from proponent.chunking import chunks
from proponent.errors import UserError

LARGE = 64 * 2**20
"""Bytes from which an array is kept in a file."""
_CHUNK = 16 * 2**20
"""Bytes that are copied at a time."""
_folder: ContextVar[Path | None] = ContextVar("_folder", default=None)


@contextmanager
def large_arrays_in(folder: Path) -> Iterator[None]:
    """Keep large arrays that are made within the block in files of ``folder``; elsewhere they are in memory.

    The kernel writes their pages to the disk and drops them where memory is short. The files have no name, so that nothing
    of them is left when the process ends, however it ends.
    """
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)


def empty_rows(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return an array of undefined content.

    Args:
        shape: (n, …).
        dtype: type of the values.

    Raises:
        UserError: the file system has no room for it.
    """
    folder, size = _folder.get(), math.prod(shape) * dtype.itemsize
    if folder is None or size < LARGE:
        return torch.empty(tuple(shape), dtype=dtype)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.truncate(size)
            if hasattr(os, "posix_fallocate"):  # not on macOS
                # Without its blocks, a full disk would end the process by a signal (SIGBUS) when a page is written.
                os.posix_fallocate(stream.fileno(), 0, size)
            mapped = np.memmap(stream, np.uint8, "r+", shape=(size,))
    except OSError as error:
        raise UserError(
            f"{folder}: no room for {size / 2**30:.1f} GiB of data: {error.strerror or error}"
        ) from error
    return torch.from_numpy(np.asarray(mapped)).view(dtype).view(tuple(shape))


def as_stored(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return rows as a contiguous tensor of a type; a copy is made some rows at a time."""
    if values.dtype == dtype and values.is_contiguous():
        return values
    stored = empty_rows(values.shape, dtype)
    for rows in row_chunks(values):
        stored[rows] = values[rows]
    return stored


def row_chunks(values: Tensor) -> Iterator[slice]:
    """Yield ranges of rows of some MiB each, one after the other."""
    bytes_per_row = max(1, math.prod(values.shape[1:]) * values.element_size())
    return chunks(len(values), _CHUNK // bytes_per_row)

"""Results of passes over some examples at a time, written into memory that is allocated once for all examples.

Joining a list of results at the end needs twice their memory. It also fragments the heap: results that are kept between the
large temporaries of two passes keep the C library (glibc 2.36) from using the memory of the first for the second, so that
the memory of a job grew to that of all inputs in floating point.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from proponent.features.gradients.block import Block
from proponent.features.gradients.serialise import from_tensors, to_tensors
from proponent.rows import Rows


class JoinedRows:
    """Rows of one tensor.

    Args:
        total: number of rows of all parts together.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._joined: Tensor | None = None
        self._written = 0

    def put(self, rows: slice, values: Tensor) -> None:
        """Write ``values`` (rows, …) in their place."""
        if self._joined is None:
            self._joined = values.new_empty((self._total, *values.shape[1:]))
        self._joined[rows] = values
        self._written += len(values)

    def get(self) -> Tensor:
        """Return all rows.

        Raises:
            ValueError: not all rows were written.
        """
        if self._joined is None or self._written != self._total:
            raise ValueError(f"{self._written} of {self._total} rows were written")
        return self._joined


class JoinedBlocks:
    """Blocks of gradients of some examples each, as one block.

    Args:
        x: (n, ...) inputs of all examples; factors that are the inputs themselves share their memory.
    """

    def __init__(self, x: Rows) -> None:
        self._x = x
        self._parts: dict[str, JoinedRows] = {}
        self._layout: dict[str, Any] = {}
        self._repeats = 1

    def put(self, rows: slice, block: Block) -> None:
        """Write the gradients of a range of the examples, the same number for each of them, in their place."""
        tensors, self._layout = to_tensors(block)
        repeats = self._repeats = len(block) // (rows.stop - rows.start)
        where = slice(rows.start * repeats, rows.stop * repeats)
        for name, values in tensors.items():
            self._parts.setdefault(name, JoinedRows(len(self._x) * repeats)).put(where, values)

    def get(self) -> Block:
        """Return the gradients of all examples."""
        return from_tensors(
            self._layout, lambda name: self._parts[name].get(), self._x, repeats=self._repeats
        )

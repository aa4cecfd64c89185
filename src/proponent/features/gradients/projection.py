"""Seeded random projections of gradients, drawn in blocks and never stored as a whole.

``E[<Px, Py>] = <x, y>`` over seeds, for each kind:

- ``rademacher``: independent signs over sqrt(dim);
- ``gaussian``: independent normals over sqrt(dim);
- ``sparse``: each coordinate is added with a random sign to one bucket in each of ``BUCKETS`` groups of
  dimensions (sparse Johnson-Lindenstrauss transform; Kane & Nelson 2014, block construction), over
  sqrt(BUCKETS).

The matrix is drawn per parameter (by name) and block of coordinates, so that it does not depend on how the
gradients are held, on the memory budget or on the number of threads.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from functools import lru_cache

import torch
from torch import Tensor

from proponent.chunking import chunks
from proponent.errors import UserError
from proponent.features.gradients.per_parameter import Part
from proponent.seeds import derive_seed

KINDS = ("rademacher", "gaussian", "sparse")
BUCKETS = 4
BLOCK_COORDINATES = 8192
SPARSE_EXAMPLES = 64
"""Examples per product; their written-out gradients of a block of coordinates stay in cache."""
DENSE_EXAMPLES = 1024
KEPT_BLOCKS = 128
"""Blocks of sparse matrices that are kept for the next examples, 0.4 MiB each: enough for a million parameters. Drawing them
anew took 40 % of the time of the gradients of `shakespeare-gpt`."""


def project_part(
    part: Part, shapes: Mapping[str, tuple[int, ...]], out: Tensor, kind: str, seed: int
) -> None:
    """Add the projection of some parameters' gradients to ``out``, in place.

    Args:
        part: gradients of one or two parameters.
        shapes: shapes of all parameters by name.
        out: (n, dim) sum of the projections of all parts.
        kind: kind of the projection, one of :data:`KINDS`.
        seed: seed of the whole projection.

    Raises:
        UserError: ``kind`` is not known, or a sparse projection has fewer than ``BUCKETS`` dimensions.
    """
    dim = out.shape[1]
    _check(kind, dim)
    for name in part.names:
        for low, high in _blocks(shapes[name]):
            if kind == "sparse":
                draw = _kept_sparse if high - low <= BLOCK_COORDINATES else _sparse
                matrix = draw(high - low, dim, seed, name, low, out.dtype).to(out.device)
                for rows in chunks(len(out), SPARSE_EXAMPLES):
                    block = part[rows].elements(name, low, high)
                    out[rows] += torch.sparse.mm(matrix, block.T.contiguous()).T
                continue
            dense = _dense(high - low, dim, kind, _generator(seed, kind, name, low), out.dtype).to(out.device)
            for rows in chunks(len(out), DENSE_EXAMPLES):
                out[rows].addmm_(part[rows].elements(name, low, high), dense, alpha=1 / math.sqrt(dim))


def _check(kind: str, dim: int) -> None:
    if kind not in KINDS:
        raise UserError(f"projection kind {kind!r} is not known; use one of {', '.join(KINDS)}")
    if dim < (BUCKETS if kind == "sparse" else 1):
        raise UserError(f"a {kind} projection to {dim} dimensions is too small; use more dimensions")


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Yield ranges of coordinates that depend on the shape alone: whole rows where they fit."""
    total = math.prod(shape)
    row = total // shape[0] if shape else 1
    step = max(1, BLOCK_COORDINATES // max(1, row)) * row
    for low in range(0, total, max(1, step)):
        yield low, min(low + step, total)


def _generator(seed: int, kind: str, name: str, low: int) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, "projection", kind, name, low))


def _dense(rows: int, dim: int, kind: str, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    if kind == "gaussian":
        return torch.randn(rows, dim, generator=generator, dtype=torch.float32).to(dtype)
    signs = torch.empty(rows, dim, dtype=torch.int8).random_(0, 2, generator=generator)
    return signs.to(dtype).mul_(2).sub_(1)


def _sparse(coordinates: int, dim: int, seed: int, name: str, low: int, dtype: torch.dtype) -> Tensor:
    """Return the transposed projection (dim, coordinates), with ``BUCKETS`` entries in each column."""
    generator = _generator(seed, "sparse", name, low)
    bounds = [dim * group // BUCKETS for group in range(BUCKETS + 1)]
    buckets = torch.cat(
        [
            torch.randint(low, high, (coordinates,), generator=generator)
            for low, high in itertools.pairwise(bounds)
        ]
    )
    signs = torch.randint(0, 2, (len(buckets),), generator=generator).to(dtype).mul_(2).sub_(1)
    columns = torch.arange(coordinates).repeat(BUCKETS)
    indices = torch.stack([buckets, columns])
    values = signs / math.sqrt(BUCKETS)
    return torch.sparse_coo_tensor(
        indices, values, (dim, coordinates), check_invariants=False
    ).to_sparse_csr()


_kept_sparse = lru_cache(KEPT_BLOCKS)(_sparse)

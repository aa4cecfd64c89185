"""Seeded random projections of gradients, generated in blocks and never stored whole.

``E[<Px, Py>] = <x, y>`` over seeds, for each kind:

- ``rademacher``: independent signs over sqrt(dim);
- ``gaussian``: independent normals over sqrt(dim);
- ``sparse``: each coordinate goes with a random sign to one bucket in each of ``BUCKETS`` groups of
  dimensions (sparse Johnson-Lindenstrauss transform; Kane & Nelson 2014, block construction), over
  sqrt(BUCKETS).

The matrix is drawn per parameter (by name) and block of coordinates, so that it does not depend on how the
gradients are held, on the memory budget or on the number of threads.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.features.gradients.per_parameter import Part, ranges
from proponent.seeds import derive_seed

KINDS = ("rademacher", "gaussian", "sparse")
BUCKETS = 4
BLOCK_COORDINATES = 8192
SPARSE_EXAMPLES = 64
"""Examples at a time: their written-out gradients of a block of coordinates stay in cache."""
DENSE_EXAMPLES = 1024
DIMS = (16384, 8192, 4096, 2048, 1024, 512)
"""Dimensions of a projection that is stored, the largest that fits."""


def project_part(
    part: Part, shapes: Mapping[str, tuple[int, ...]], out: Tensor, kind: str, seed: int
) -> None:
    """Add the projection of some parameters' gradients to ``out`` (n, dim), in place.

    Args:
        part: gradients of one or two parameters.
        shapes: of all parameters.
        out: (n, dim) accumulates.
        kind: one of :data:`KINDS`.
        seed: of the whole projection.

    Raises:
        UserError: ``kind`` is not known, or a sparse projection is asked for fewer than ``BUCKETS``
            dimensions.
    """
    dim = out.shape[1]
    _check(kind, dim)
    for name in part.names:
        for low, high in _blocks(shapes[name]):
            generator = _generator(seed, kind, name, low)
            if kind == "sparse":
                matrix = _sparse(high - low, dim, generator, out.dtype).to(out.device)
                for rows in ranges(len(out), SPARSE_EXAMPLES):
                    block = part[rows].elements(name, low, high)
                    out[rows] += torch.sparse.mm(matrix, block.T.contiguous()).T
                continue
            dense = _dense(high - low, dim, kind, generator, out.dtype).to(out.device)
            for rows in ranges(len(out), DENSE_EXAMPLES):
                out[rows].addmm_(part[rows].elements(name, low, high), dense, alpha=1 / math.sqrt(dim))


def projection_matrix(
    name: str, shape: tuple[int, ...], dim: int, kind: str, seed: int, dtype: torch.dtype
) -> Tensor:
    """Return the matrix that :func:`project_part` multiplies with, (number of elements, dim)."""
    _check(kind, dim)
    blocks = []
    for low, high in _blocks(shape):
        generator = _generator(seed, kind, name, low)
        if kind == "sparse":
            blocks.append(_sparse(high - low, dim, generator, dtype).to_dense().T)
        else:
            blocks.append(_dense(high - low, dim, kind, generator, dtype) / math.sqrt(dim))
    return torch.cat(blocks)


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


def _sparse(coordinates: int, dim: int, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Return the transposed projection (dim, coordinates), with ``BUCKETS`` entries in each column."""
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


@dataclass(frozen=True)
class Plan:
    """How gradients are to be stored.

    Attributes:
        choice: ``factored`` or ``projected``.
        numbers: an example and checkpoint, as chosen.
        bytes: all examples and checkpoints, as chosen.
        factored_bytes: the same if they were factored.
        dim: of the projection, or 0.
    """

    choice: Literal["factored", "projected"]
    numbers: int
    bytes: int
    factored_bytes: int
    dim: int


def plan(rows: int, factored: int, beside: int, itemsize: int, memory_mib: int) -> Plan:
    """Choose exact factors where they fit, else the largest projection that does.

    Args:
        rows: gradients to store: examples times checkpoints.
        factored: numbers of a factored gradient.
        beside: numbers of the last layer's factored gradient, which is kept beside a projection.
        itemsize: bytes of a number.
        memory_mib: for what is stored.

    Raises:
        UserError: not even the smallest of :data:`DIMS` fits.
    """
    budget = memory_mib * 2**20
    exact = rows * factored * itemsize
    if exact <= budget:
        return Plan("factored", factored, exact, exact, 0)
    fits = [dim for dim in DIMS if rows * (dim + beside) * itemsize <= budget]
    if not fits:
        needed = math.ceil(rows * min(factored, DIMS[-1] + beside) * itemsize / 2**20)
        raise UserError(
            f"the smallest form of these gradients takes {needed} MiB and {memory_mib} are allowed: "
            "raise compute.memory_mib, or lower compute.members_per_job or ensemble.checkpoints"
        )
    numbers = fits[0] + beside
    return Plan("projected", numbers, rows * numbers * itemsize, exact, fits[0])

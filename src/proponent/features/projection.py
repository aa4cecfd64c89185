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
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.seeds import derive_seed

KINDS = ("rademacher", "gaussian", "sparse")
BUCKETS = 4
BLOCK_COORDINATES = 8192


def project_elements(
    elements: Callable[[str, int, int], Tensor],
    name: str,
    shape: tuple[int, ...],
    out: Tensor,
    kind: str,
    seed: int,
) -> None:
    """Add the projection of one parameter's gradients to ``out`` (n, dim), in place.

    Args:
        elements: returns elements ``low`` to ``high`` of the flattened gradients of ``name``, (n, high -
            low).
        name: the parameter.
        shape: of the parameter.
        out: (n, dim) accumulates.
        kind: one of :data:`KINDS`.
        seed: of the whole projection.

    Raises:
        UserError: ``kind`` is not known, or a sparse projection is asked for fewer than ``BUCKETS``
            dimensions.
    """
    _check(kind, out.shape[1])
    for low, high in _blocks(shape):
        block = elements(name, low, high)
        if kind == "sparse":
            matrix = _sparse(high - low, out.shape[1], _generator(seed, kind, name, low), out.dtype).to(
                out.device
            )
            out += torch.sparse.mm(matrix, block.T.contiguous()).T
        else:
            matrix = _dense(high - low, out.shape[1], kind, _generator(seed, kind, name, low), out.dtype)
            out.addmm_(block, matrix.to(out.device), alpha=1 / math.sqrt(out.shape[1]))


def projection_matrix(
    name: str, shape: tuple[int, ...], dim: int, kind: str, seed: int, dtype: torch.dtype
) -> Tensor:
    """Return the matrix that :func:`project_elements` multiplies with, (number of elements, dim)."""
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

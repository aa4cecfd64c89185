"""Choice of the form in which gradients are stored: exact factors, or a projection."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from proponent.errors import UserError

DIMS = (16384, 8192, 4096, 2048, 1024, 512)
"""Dimensions of stored projections, of which the largest that fits is chosen."""


@dataclass(frozen=True)
class StorageChoice:
    """Form in which the gradients of one member are stored.

    Attributes:
        choice: ``factored`` or ``projected``.
        numbers: stored elements per example and checkpoint in the chosen form.
        bytes: size of all examples and checkpoints in the chosen form.
        factored_bytes: size of the same gradients as factors.
        dim: dimensions of the projection, or 0 for factors.
        last_dim: dimensions of a projection of the gradients of the last layer alone, or 0 where these are exact.
    """

    choice: Literal["factored", "projected"]
    numbers: int
    bytes: int
    factored_bytes: int
    dim: int
    last_dim: int = 0


def choose_storage(rows: int, factored: int, last: int, itemsize: int, memory_mib: float) -> StorageChoice:
    """Choose exact factors if they fit, otherwise the largest projection that does.

    The factors of the last layer are kept in addition, or a projection of them where they are large: those of a language
    model are as large as its vocabulary, for each token.

    Args:
        rows: gradients to store: examples times checkpoints.
        factored: elements of one factored gradient.
        last: elements of one factored gradient of the last layer.
        itemsize: bytes per element.
        memory_mib: memory for all stored gradients, in MiB.

    Raises:
        UserError: not even the smallest of :data:`DIMS` fits.
    """
    budget = memory_mib * 2**20
    exact = rows * factored * itemsize
    if exact <= budget:
        return StorageChoice("factored", factored, exact, exact, 0)
    for last_dim in (0, DIMS[-1]):
        kept = last_dim or last
        for dim in DIMS:
            size = rows * (dim + kept) * itemsize
            if size <= budget:
                return StorageChoice("projected", dim + kept, size, exact, dim, last_dim)
    needed = math.ceil(rows * min(factored, DIMS[-1] + min(last, DIMS[-1])) * itemsize / 2**20)
    raise UserError(
        f"the smallest form of these gradients takes {needed} MiB and {memory_mib:.0f} are allowed: "
        "raise compute.memory_mib, or lower compute.members_per_job or ensemble.checkpoints"
    )

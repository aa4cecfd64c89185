"""Size of a problem, from which each method computes the memory that it needs before it computes anything else.

A method that may need much memory has a function ``memory(size, queries, *, <hyper-parameters>)`` that returns MiB. The
method takes as many queries at a time as fit, and the check of a setting refuses a method of which not even one query fits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proponent.chunking import chunks
from proponent.memory_budget import MIB

if TYPE_CHECKING:
    from proponent.methods.shared.needs import Curvature, GradientBlock, Replay

_TEMPORARY_MIB, _PRODUCT_MIB = 256.0, 64.0
"""Largest memory of the temporaries of gradients, two of 128 MiB, and of the pass of a curvature product."""
_FORMED_MIB = 256.0
"""Largest curvature matrix that is formed for many products."""
_TANGENTS_MIB = 160.0
"""Largest memory of the derivatives of parameters in a pass over a batch of a replay."""


@dataclass(frozen=True)
class ProblemSize:
    """Numbers on which the memory of methods depends.

    Attributes:
        n_train: number of training examples.
        n_query: number of queries that are scored together.
        shapes: shapes of the model's parameters; empty where a method does not use the model.
        n_outputs: numbers in the outputs of one example.
        itemsize: bytes of a number.
        pass_mib: memory of a forward and backward pass, in MiB.
        root_row: numbers in a row of a root of the Gauss-Newton matrix, stored as factors.
        kronecker_mib: memory of the factors and eigenvectors of a Kronecker basis, in MiB.
        replay_mib: memory of the activations in a pass over a batch of a replay, in MiB.
        steps: optimiser steps of a training.
        slots: vectors of the optimiser's state.
        batch: examples of an optimiser step.
        dampings: number of dampings that are tried together.
    """

    n_train: int
    n_query: int
    shapes: tuple[tuple[int, ...], ...] = ()
    n_outputs: int = 1
    itemsize: int = 4
    pass_mib: float = 0.0
    root_row: int = 0
    kronecker_mib: float = 0.0
    replay_mib: float = 0.0
    steps: int = 1
    slots: int = 1
    batch: int = 0
    dampings: int = 1

    @property
    def n_parameters(self) -> int:
        """Number of parameters."""
        return sum(map(math.prod, self.shapes))

    def layers(self) -> list[tuple[int, int]]:
        """Return the rows and columns of each parameter: a weight has a column for its bias, any other has one column."""
        return [(shape[0], math.prod(shape[1:]) + (len(shape) > 1)) for shape in self.shapes if shape]

    def numbers(self, count: float) -> float:
        """Return the memory of ``count`` numbers, in MiB."""
        return count * self.itemsize / MIB

    def vectors(self, count: float) -> float:
        """Return the memory of ``count`` vectors of all parameters, in MiB."""
        return self.numbers(count * self.n_parameters)

    def scores(self, copies: float = 3.0) -> float:
        """Return the memory of scores (n_query, n_train), in MiB: by default a member's, their sum and their mean."""
        return self.numbers(copies * self.n_query * self.n_train)

    def temporaries(self) -> float:
        """Return the memory of the temporaries of gradients and of curvature products, in MiB."""
        rows = max(self.n_train, self.n_query)
        return min(_TEMPORARY_MIB, self.vectors(2 * rows)) + min(_PRODUCT_MIB, self.vectors(rows))

    def curvature_products(self) -> float:
        """Return the memory of many products with the curvature, in MiB: temporaries, and the matrix if it may be formed."""
        matrix = self.vectors(self.n_parameters)
        return self.temporaries() + (matrix + self.pass_mib if matrix <= _FORMED_MIB else 0.0)

    def kronecker(self) -> float:
        """Return the memory of a Kronecker basis while it is computed, in MiB."""
        return self.kronecker_mib + self.vectors(6) + self.pass_mib + self.temporaries()

    def states(self) -> float:
        """Return the memory of the states of a replay, in MiB: every sqrt(T)-th of T, and those of one stretch."""
        return self.vectors(2 * (math.isqrt(max(self.steps - 1, 0)) + 1) * self.slots)

    def replayed(self) -> float:
        """Return the memory of the pass over a batch of a replay, in MiB."""
        return self.replay_mib + min(_TANGENTS_MIB, self.vectors(5 * self.n_query))


def size_of_network(model: Curvature, *, dampings: int = 1) -> ProblemSize:
    """Return the size of the problem behind a member's curvature."""
    return ProblemSize(
        n_train=model.n_train,
        n_query=len(model.query),
        shapes=tuple(model.shapes),
        n_outputs=model.n_outputs,
        itemsize=model.loss_weight.element_size(),
        pass_mib=model.pass_mib,
        root_row=model.root_row,
        kronecker_mib=model.kronecker_mib,
        dampings=dampings,
    )


def query_blocks(
    model: Curvature,
    need: Callable[[ProblemSize, int], float],
    method: str,
    *,
    most: int | None = None,
    dampings: int = 1,
) -> list[GradientBlock]:
    """Return the gradients of the queries, in blocks of as many as fit into memory.

    Args:
        model: one member at one checkpoint.
        need: function ``memory`` of the method.
        method: name of the method, for a refusal.
        most: largest number of queries per block; None for all.
        dampings: number of dampings that are tried together.

    Raises:
        UserError: not even one query fits.
    """
    size, count = size_of_network(model, dampings=dampings), len(model.query)
    block = model.budget.largest(lambda queries: need(size, queries), min(most or count, count), method)
    return [model.query.slice(rows) for rows in chunks(count, block)]


def size_of_replay(replay: Replay) -> ProblemSize:
    """Return the size of the problem behind a member's training."""
    return ProblemSize(
        n_train=replay.n_train,
        n_query=replay.n_query,
        shapes=((replay.n_parameters,),),
        itemsize=replay.itemsize,
        replay_mib=replay.pass_mib,
        steps=replay.n_steps,
        slots=replay.n_slots,
        batch=replay.batch_size,
    )

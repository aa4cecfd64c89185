"""Memory that a method needs for a model in memory, from the sizes of both, before anything is computed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from proponent.errors import UserError
from proponent.features.curvature.kronecker_factors import factors_mib
from proponent.features.gradients.capture import Capture
from proponent.features.member_network import pass_memory_mib
from proponent.features.storage_choice import choose_storage
from proponent.memory_budget import MIB
from proponent.methods.shared.problem_size import ProblemSize
from proponent.methods.shared.stated_memory import stated_mib
from proponent.rows import Rows
from proponent.trained.method_choice import Choice


@dataclass(frozen=True)
class ModelSize:
    """Sizes of a model and its training set.

    Attributes:
        n_train: number of training examples.
        shapes: shapes of the trainable parameters.
        itemsize: bytes of a number of the parameters.
        n_outputs: numbers in the outputs of one example.
        factored: numbers in the exact gradient of one example, stored as factors.
        last: the same for the last linear layer alone.
        root_row: numbers in a row of a root of the Gauss-Newton matrix, stored as factors.
    """

    n_train: int
    shapes: tuple[tuple[int, ...], ...]
    itemsize: int
    n_outputs: int
    factored: int
    last: int
    root_row: int

    @classmethod
    def of(cls, capture: Capture, x: Rows) -> ModelSize:
        """Return the sizes of a traced model and its (n_train, ...) inputs."""
        return cls(
            n_train=len(x),
            shapes=tuple(capture.shapes.values()),
            itemsize=next(iter(capture.parameters.values())).element_size(),
            n_outputs=capture.outputs(x[:1])[0].numel(),
            factored=capture.numbers_per_example(),
            last=capture.numbers_per_example(capture.last),
            root_row=capture.numbers_per_root_row(x),
        )

    def gradients_mib(self, rows: int, memory_mib: int) -> float:
        """Return the memory of stored gradients, exact or projected, of which half of ``memory_mib`` is allowed."""
        stored = choose_storage(rows, self.factored, self.last, self.itemsize, memory_mib // 2)
        return stored.bytes / MIB

    def method_mib(self, choice: Choice, queries: int, memory_mib: int) -> float:
        """Return the memory that a method states for ``queries`` queries at a time, in MiB."""
        size = ProblemSize(
            n_train=self.n_train,
            n_query=queries,
            shapes=self.shapes,
            n_outputs=self.n_outputs,
            itemsize=self.itemsize,
            pass_mib=pass_memory_mib(memory_mib),
            root_row=self.root_row,
            kronecker_mib=factors_mib(self.shapes, self.itemsize),
        )
        return stated_mib(choice.module, choice.function, size, queries, choice.params)

    def needed_mib(self, choice: Choice, queries: int, memory_mib: int) -> float:
        """Return the memory of a method and the features of one model at one checkpoint, in MiB."""
        rows, held = self.n_train + queries, 0.0
        if "network" in choice.needs:
            held = rows * self.factored * self.itemsize / MIB
        elif "gradients" in choice.needs:
            held = self.gradients_mib(rows, memory_mib)
        return held + self.method_mib(choice, queries, memory_mib)


def largest_block(choice: Choice, size: ModelSize, n_query: int, memory_mib: int, source: str) -> int:
    """Return how many queries fit into memory together, at most ``n_query``.

    Args:
        choice: method with hyper-parameters.
        size: sizes of the model and its training set.
        n_query: number of queries, at least 1.
        memory_mib: memory of features and methods together, in MiB.
        source: beginning of the message.

    Raises:
        UserError: not even one query fits.
    """
    if not _fits(choice, size, 1, memory_mib):
        enough = memory_mib
        while not _fits(choice, size, 1, enough):  # passes and stored gradients take a share of the memory
            enough = math.ceil(1.1 * enough) + 1
        raise UserError(
            f"{source} needs {enough} MiB of memory and memory_mib is {memory_mib}: raise it to {enough}, or choose another "
            "method; proponent.methods(model, train) lists their memory"
        )
    if _fits(choice, size, n_query, memory_mib):
        return n_query
    fits, too_many = 1, n_query
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        fits, too_many = (middle, too_many) if _fits(choice, size, middle, memory_mib) else (fits, middle)
    return fits


def kept_members(
    choice: Choice, size: ModelSize | None, memory_mib: int, checkpoints: int, source: str
) -> tuple[int, bool]:
    """Return for how many models the values of the training set are kept, and whether at all checkpoints.

    Args:
        choice: method with hyper-parameters.
        size: sizes of the model and its training set; None for a method without a model.
        memory_mib: memory of features and methods together, in MiB.
        checkpoints: number of checkpoints of each model.
        source: beginning of the message.

    Raises:
        UserError: the method needs more memory than is allowed.
    """
    if size is None:
        return 0, False
    largest_block(choice, size, 1, memory_mib, source)
    needed = size.needed_mib(choice, 1, memory_mib)
    along = needed * checkpoints <= memory_mib
    return int(memory_mib // (needed * (checkpoints if along else 1))), along


def _fits(choice: Choice, size: ModelSize, queries: int, memory_mib: int) -> bool:
    try:
        return size.needed_mib(choice, queries, memory_mib) <= memory_mib
    except UserError:  # not even a small projection of the gradients fits
        return False

"""Needs of methods that go through a member's training again, step by step, from its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from torch import Tensor

from proponent.memory_budget import MemoryBudget

ALL = slice(None)


class ReplayPoint(Protocol):
    """One member after some number of optimiser steps; p is the number of parameters."""

    steps: int
    """Number of optimiser steps so far."""
    slots: Tensor
    """(n_slots, p): the parameters, then the optimiser's moments (SGD's velocity; Adam's two)."""

    def query_gradients(self, queries: slice = ALL) -> Tensor:
        """Return the gradients of the targets of all or some queries, (n_query, p)."""
        ...

    def loss_gradients(self, examples: Tensor) -> Tensor:
        """Return the gradients of the *losses* of training examples without dropout, (len(examples), p)."""
        ...

    def preconditioner(self) -> Tensor:
        """Return the factors by which the optimiser multiplies gradients now, in addition to the learning rate, (p,)."""
        ...

    def directions(self, examples: Tensor) -> Tensor:
        """Return, per example, the negative of the next step that the example alone would cause, (len(examples), p).

        For SGD these are the gradients of the losses; for Adam its moments are included. Weight decay is left out.
        """
        ...


class ReplayStep(ReplayPoint, Protocol):
    """One optimiser step, and the member before it. Weight decay is part of the optimiser's update."""

    examples: Tensor
    """Indices of the examples in the batch, (b,)."""

    @property
    def transition(self) -> Tensor:
        """Derivatives of slots after with respect to slots before, at a fixed gradient, (n_slots, n_slots, p or 1)."""
        ...

    @property
    def gain(self) -> Tensor:
        """Derivatives of slots after with respect to the gradient of the batch's mean loss, (n_slots, p or 1)."""
        ...

    def gradients(self) -> Tensor:
        """Return the gradients of the losses of the batch's examples, with the dropout of the step, (b, p)."""
        ...

    def gradient_and_hessian_products(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return the products of ``vectors`` (k, p) with :meth:`gradients`, (k, b), and with the batch's Hessian, (k, p)."""
        ...


class Replay(Protocol):
    """The training of one member, which can be gone through again from its end."""

    member: int
    """Index of the member."""
    n_train: int
    n_query: int
    n_parameters: int
    n_slots: int
    n_steps: int
    batch_size: int
    itemsize: int
    """Bytes of a number."""
    rates: Sequence[float]
    """Learning rate of every optimiser step."""
    decay_is_decoupled: bool
    """Whether weight decay acts on the parameters themselves (AdamW) instead of through the gradient."""
    pass_mib: float
    """Memory of the activations in a pass over a batch, in MiB."""
    budget: MemoryBudget
    """Memory of the job, in which the states that a replay keeps are held already."""

    def end(self) -> ReplayPoint:
        """Return the member at the end of training."""
        ...

    def at(self, fraction: float) -> ReplayPoint:
        """Return the member after a fraction of its optimiser steps."""
        ...

    def backward(self) -> Iterator[ReplayStep]:
        """Yield all optimiser steps, the last first."""
        ...

"""Views of a member's features along its training: the objects that methods receive.

They consist of plain tensors and callables and do not depend on files: ``load(index)`` returns the features of the
checkpoint with that index, and only the most recent ones are kept in memory.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

from torch import Tensor

from proponent.features.curvature.kronecker import KroneckerBasis
from proponent.features.curvature.member_curvature import Curvature, kronecker_of
from proponent.features.gradients.block import Block
from proponent.notes import Note

T = TypeVar("T")

_NEAR = 1.25
"""Ratio up to which a saved checkpoint counts as the one that was asked for; short trainings round their steps."""
_SATURATED = 1e-12
"""Loss weight below which an example's loss no longer moves a float32 model."""


@dataclass(frozen=True)
class CheckpointTimes:
    """Times at which the checkpoints of one member were saved, the final model last.

    Attributes:
        steps: optimiser steps up to each checkpoint.
        learning_rates: learning rate at each checkpoint.
        durations: sum of the learning rates up to each checkpoint, divided by 1 - momentum.
    """

    steps: Sequence[int]
    learning_rates: Sequence[float]
    durations: Sequence[float]

    @classmethod
    def from_rates(
        cls, steps: Sequence[int], learning_rates: Sequence[float], momentum: float = 0.0
    ) -> CheckpointTimes:
        """Return the times of checkpoints whose learning rates were those of all steps since the checkpoint before.

        Args:
            steps: optimiser steps up to each checkpoint, ascending.
            learning_rates: learning rate at each checkpoint.
            momentum: momentum of the training.
        """
        before = [0, *steps[:-1]]
        lengths = (
            rate * (stop - start) / (1 - momentum)
            for rate, start, stop in zip(learning_rates, before, steps, strict=True)
        )
        return cls(steps, learning_rates, list(itertools.accumulate(lengths)))

    def nearest(self, fraction: float) -> int:
        """Return the index of the checkpoint nearest, in ratio, to ``fraction`` of all steps.

        Raises:
            ValueError: ``fraction`` is not in (0, 1].
        """
        if not 0 < fraction <= 1:
            raise ValueError(f"a checkpoint is a fraction of training in (0, 1], not {fraction}")
        wanted = math.log(fraction * self.steps[-1])
        return min(
            range(len(self.steps)),
            key=lambda index: abs(math.log(self.steps[index]) - wanted) if self.steps[index] else math.inf,
        )


def note_saturated(loss_weight: Tensor, fraction: float) -> None:
    """Emit a note where training examples are predicted with such certainty that their losses have no gradient.

    Args:
        loss_weight: loss weights, (n_train,).
        fraction: fraction of training at the checkpoint.
    """
    count = int((loss_weight < _SATURATED).sum())
    if count:
        warnings.warn(
            f"the loss weights 1 - p of {count} of {len(loss_weight)} training examples are below {_SATURATED:g} at "
            f"checkpoint {fraction:.3g}",
            Note,
            stacklevel=3,
        )


class History(Generic[T]):
    """Features at the checkpoints of one member.

    Args:
        member: index of the member in the ensemble.
        times: times of the checkpoints.
        load: function from the index of a checkpoint to its features.
    """

    def __init__(self, member: int, times: CheckpointTimes, load: Callable[[int], T]) -> None:
        self.member = member
        self.times = times
        self._load = load
        self._recent: tuple[int, T] | None = None

    def _get(self, index: int) -> T:
        if self._recent is None or self._recent[0] != index:
            self._recent = None  # releases the old features before the new ones are read
            self._recent = (index, self._load(index))
        return self._recent[1]

    @property
    def durations(self) -> list[float]:
        """Length of training up to each checkpoint."""
        return list(self.times.durations)

    @property
    def fractions(self) -> list[float]:
        """Share of all optimiser steps up to each checkpoint."""
        return [steps / self.times.steps[-1] for steps in self.times.steps]

    def nearest(self, checkpoint: float) -> int:
        """Return the index of the saved checkpoint nearest, in ratio, to this fraction of training.

        A note states which one it is if it is not near.
        """
        index = self.times.nearest(checkpoint)
        found = self.fractions[index]
        if not checkpoint / _NEAR <= found <= checkpoint * _NEAR:
            warnings.warn(
                f"checkpoint {checkpoint:g} of training is not saved: the nearest one is at {found:.3g}",
                Note,
                stacklevel=2,
            )
        return index

    def at(self, checkpoint: float) -> T:
        """Return the features at the saved checkpoint nearest, in ratio, to this fraction of training."""
        return self._get(self.nearest(checkpoint))

    def along(self) -> Iterator[T]:
        """Yield the features of all checkpoints, the final one last."""
        for index in range(len(self.times.steps)):
            yield self._get(index)


@dataclass(frozen=True)
class GradientPair:
    """Gradients of the target at one checkpoint; see :class:`proponent.methods.shared.needs.GradientPair`."""

    train: Block
    query: Block
    loss_weight: Tensor
    loss_curvature: Tensor
    learning_rate: float
    duration: float

    @cached_property
    def _gram(self) -> Tensor:
        return self.train.inner(self.train)

    def gram(self) -> Tensor:
        """Return the inner products of the training gradients, (n_train, n_train); computed once."""
        return self._gram


@dataclass(frozen=True)
class OutputPair:
    """Outputs (n, n_outputs) of one member at one checkpoint, and the loss weights (n_train,)."""

    train: Tensor
    query: Tensor
    loss_weight: Tensor


@dataclass(frozen=True)
class RepresentationPair:
    """Inputs of the last linear layer, (n, d)."""

    train: Tensor
    query: Tensor


Gradients = History[GradientPair]
Outputs = History[OutputPair]
Representations = History[RepresentationPair]


@dataclass(frozen=True)
class Stage:
    """Stage of training on examples of its own; see :class:`proponent.methods.shared.needs.Stage`."""

    examples: slice
    checkpoint: int
    make: Callable[[], Network]

    @property
    def network(self) -> Network:
        """Return a new network with these examples only, to be released after use."""
        return self.make()


class Network(History[Curvature]):
    """Curvature at the checkpoints of one member; see :class:`proponent.methods.shared.needs.Network`.

    Args:
        member: index of the member in the ensemble.
        times: times of the checkpoints.
        load: function from the index of a checkpoint to its curvature.
        blend: function from one weight per checkpoint to the curvature at the weighted mean of their parameters.
        stages: stages of training; empty for a single stage of all examples.
    """

    def __init__(
        self,
        member: int,
        times: CheckpointTimes,
        load: Callable[[int], Curvature],
        blend: Callable[[Sequence[float]], Curvature],
        stages: Sequence[Stage] = (),
    ) -> None:
        super().__init__(member, times, load)
        self.blend = blend
        self._stages = stages

    @property
    def stages(self) -> Sequence[Stage]:
        """Stages of training."""
        return self._stages or [Stage(slice(None), len(self.times.steps) - 1, lambda: self)]

    def checkpoint(self, index: int) -> Curvature:
        """Return the curvature at a saved checkpoint."""
        return self._get(index)

    def kronecker(
        self, weights: Sequence[float], samples: int, seed: int, scale: Tensor | None = None
    ) -> KroneckerBasis:
        """Return the Kronecker eigenbasis of the weighted mean over checkpoints, with one weight per checkpoint."""

        def networks() -> Iterator[tuple[Curvature, float]]:
            for index, weight in enumerate(weights):
                if weight:
                    yield self._get(index), weight

        return kronecker_of(networks, samples, seed, scale)

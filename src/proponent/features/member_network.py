"""Curvature of one member along its training, computed from checkpoints when a method asks for it; nothing is stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from torch import Tensor, nn

from proponent.features.curvature.member_curvature import Curvature
from proponent.features.views import CheckpointTimes, Network, Stage, note_saturated
from proponent.memory_budget import MemoryBudget
from proponent.settings.split import Arrays
from proponent.settings.tasks import Task

PASS_MIB = 512
"""Memory of forward and backward passes; they are not faster with more."""


def pass_memory_mib(memory_mib: int) -> int:
    """Return the memory of forward and backward passes in MiB: at most a quarter of ``compute.memory_mib``."""
    return max(1, min(PASS_MIB, memory_mib // 4))


@dataclass(frozen=True, eq=False)
class NetworkReader:
    """Reader of a member's checkpoints, for methods that need curvature.

    Attributes:
        module: module that is loaded with each checkpoint in turn.
        load_state: function from the index of a checkpoint to its state dict.
        task: task that gives target and loss.
        data: training examples and queries, on the module's device.
        member: index in the ensemble.
        times: times of the checkpoints.
        weight_decay: weight decay of the recipe.
        memory_mib: memory of passes, gradients and methods together, in MiB; passes use at most a quarter of it, and at
            most ``PASS_MIB``.
        query_rows: range of the queries to attribute.
    """

    module: nn.Module
    load_state: Callable[[int], dict[str, Tensor]]
    task: Task
    data: Arrays
    member: int
    times: CheckpointTimes
    weight_decay: float
    memory_mib: int
    query_rows: slice = field(default_factory=lambda: slice(None))

    def network(self, stages: Sequence[tuple[slice, int]] = ()) -> Network:
        """Return the member along its training.

        Args:
            stages: range of the examples of each stage, and index of the checkpoint at its end; empty for a single
                stage of all examples.
        """
        parts = [
            Stage(examples, checkpoint, partial(self._stage, examples)) for examples, checkpoint in stages
        ]
        return Network(self.member, self.times, self._load, self._blend, parts)

    def _stage(self, examples: slice) -> Network:
        data = self.data._replace(x_train=self.data.x_train[examples], y_train=self.data.y_train[examples])
        return replace(self, data=data).network()

    def _load(self, index: int) -> Curvature:
        found = self._curvature(self.load_state(index), self.times.durations[index])
        note_saturated(found.loss_weight, self.times.steps[index] / self.times.steps[-1])
        return found

    def _blend(self, weights: Sequence[float]) -> Curvature:
        """Return the curvature at the weighted mean of the checkpoints; integers (a step count) are the last one's."""
        total: dict[str, Tensor] = {}
        for index, weight in enumerate(weights):
            if weight:
                for name, value in self.load_state(index).items():
                    if not value.is_floating_point():
                        total[name] = value
                    elif name in total:
                        total[name] = total[name] + weight * value
                    else:
                        total[name] = weight * value
        return self._curvature(total, self.times.durations[-1])

    def _curvature(self, state: Mapping[str, Tensor], duration: float) -> Curvature:
        self.module.load_state_dict(state)
        return Curvature(
            self.module,
            self.task,
            self.data.x_train,
            self.data.y_train,
            self.data.x_query[self.query_rows],
            self.data.y_query[self.query_rows],
            weight_decay=self.weight_decay,
            duration=duration,
            memory_mib=pass_memory_mib(self.memory_mib),
            budget=MemoryBudget(self.memory_mib),
        )

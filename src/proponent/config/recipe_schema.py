"""Dataclasses behind the training recipe of a setting; the default of a field is the benchmark's default."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from proponent.config.ranges import check_not_negative, check_positive, check_within


class Optimizer(Enum):
    """Optimisers of the lockstep trainer."""

    sgd = "sgd"
    adam = "adam"
    adamw = "adamw"


class Schedule(Enum):
    """Schedule of the learning rate after the warm-up."""

    constant = "constant"
    linear = "linear"
    cosine = "cosine"
    step = "step"


class Precision(Enum):
    """Floating point numbers of a setting's data, models and features."""

    float32 = "float32"
    float64 = "float64"
    bf16 = "bf16"
    """Forward passes of training in bfloat16, by autocast; parameters, features and everything else in float32."""


class LastBatch(Enum):
    """Treatment of the examples that are left when an epoch is cut into batches."""

    keep = "keep"
    """A smaller last batch."""
    drop = "drop"
    """No batch: the epoch leaves them out. Each epoch has another order, so that they are others each time."""
    merge = "merge"
    """A part of the batch before, which is then larger."""


@dataclass
class StageConfig:
    """A stage of training, on examples of its own."""

    examples: int
    """Number of examples; each stage takes the next ones of the training set."""
    epochs: int
    lr: float | None = None
    """Learning rate; None for that of the recipe."""

    def __post_init__(self) -> None:
        check_positive("stage", examples=self.examples, epochs=self.epochs, lr=self.lr)


@dataclass
class RecipeConfig:
    """Training of one model."""

    optimizer: Optimizer = Optimizer.sgd
    lr: float = 0.01
    momentum: float = 0.0
    nesterov: bool = False
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    eps: float = 1e-8
    weight_decay: float = 0.0
    """L2 penalty, added to the gradient (SGD, Adam) or decoupled (AdamW), as in torch.optim."""
    schedule: Schedule = Schedule.constant
    warmup_steps: int = 0
    """Optimiser steps in which the learning rate rises from 0 to ``lr``, as many for a retraining on a part."""
    warmup_epochs: float = 0.0
    """The same in epochs, which have fewer steps for a retraining on a part."""
    step_size: int = 0
    """Epochs between two decays, for the schedule ``step``."""
    gamma: float = 0.1
    """Factor of a decay, for the schedule ``step``."""
    batch_size: int = 64
    precision: Precision = Precision.float32
    last_batch: LastBatch = LastBatch.keep
    """Treatment of a last batch with fewer than ``batch_size`` examples; an epoch of fewer is one batch in any case."""
    epochs: int | None = None
    steps: int | None = None
    stages: list[StageConfig] = field(default_factory=list)
    """Stages, which divide the training set in order. Exactly one of ``epochs``, ``steps`` and ``stages`` is given."""

    def __post_init__(self) -> None:
        if (self.epochs is not None) + (self.steps is not None) + bool(self.stages) != 1:
            raise ValueError("recipe: give exactly one of 'epochs', 'steps' and 'stages'")
        if self.stages and (
            self.schedule is not Schedule.constant or self.warmup_steps or self.warmup_epochs
        ):
            raise ValueError(
                "recipe: stages have constant learning rates; leave out 'schedule', 'warmup_steps' and 'warmup_epochs'"
            )
        if self.warmup_steps and self.warmup_epochs:
            raise ValueError("recipe: give 'warmup_steps' or 'warmup_epochs', not both")
        check_positive(
            "recipe",
            lr=self.lr,
            batch_size=self.batch_size,
            epochs=self.epochs,
            steps=self.steps,
            eps=self.eps,
        )
        check_within("recipe", 0, 1, momentum=self.momentum, gamma=self.gamma)
        check_not_negative(
            "recipe",
            weight_decay=self.weight_decay,
            warmup_steps=self.warmup_steps,
            warmup_epochs=self.warmup_epochs,
        )
        if self.schedule is Schedule.step:
            check_positive("recipe (schedule: step)", step_size=self.step_size)
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"recipe: betas must be two numbers in [0, 1), not {self.betas}")
        if self.nesterov and not self.momentum:
            raise ValueError("recipe: nesterov needs a momentum above 0")

    @property
    def largest_batch(self) -> int:
        """Largest number of examples that a batch can have."""
        return self.batch_size + (self.batch_size - 1 if self.last_batch is LastBatch.merge else 0)

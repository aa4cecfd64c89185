"""Dataclasses behind the ensemble of a setting: trained here, by a command, or given as files."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from proponent.config.ranges import check_not_negative, check_positive, check_within
from proponent.config.recipe_schema import Optimizer, Precision
from proponent.config.training_command import split_command


class TargetsFrom(Enum):
    """Origin of the targets of the queries under a model that a command trained."""

    weights = "weights"
    """The weights that the command wrote, which this project evaluates."""
    script = "script"
    """The command itself, for models that torch cannot load."""


@dataclass
class TrainingConfig:
    """Training that this project does not perform: what is known about it, as far as methods need it."""

    command: str | None = None
    """Command that trains one model (:mod:`proponent.config.training_command`); None for a setting with trained models
    (``ensemble.files``)."""
    sources: list[str] = field(default_factory=list)
    """Files and folders that the command reads, in addition to files that it names; their content is part of the key."""
    targets: TargetsFrom = TargetsFrom.weights
    optimizer: Optimizer | None = None
    """Optimiser of the training; None if it is unknown, and then methods that were derived for one are left out."""
    momentum: float = 0.0
    weight_decay: float = 0.0
    precision: Precision = Precision.float32
    """Floating point numbers of data, models and features."""

    def __post_init__(self) -> None:
        if self.command is not None:
            split_command(self.command)
        elif self.sources or self.targets is not TargetsFrom.weights:
            raise ValueError(
                "training: sources and targets belong to a command; add 'command', or leave both out"
            )
        check_within("training", 0, 1, momentum=self.momentum)
        check_not_negative("training", weight_decay=self.weight_decay)
        if self.precision is Precision.bf16:
            raise ValueError(
                "training: precision must be float32 or float64, not bf16; weights in bfloat16 are converted to float32"
            )


@dataclass
class GivenCheckpointConfig:
    """A checkpoint of a training outside this project."""

    file: str
    lr: float
    """Learning rate at the checkpoint."""
    step: int
    """Number of optimiser steps until the checkpoint."""

    def __post_init__(self) -> None:
        check_not_negative("ensemble.files: checkpoint", lr=self.lr)
        check_positive("ensemble.files: checkpoint", step=self.step)


@dataclass
class GivenMemberConfig:
    """A model that was trained outside this project, with checkpoints along its training if there are any."""

    final: str
    """File or folder with the trained model; of an entry that is text alone, a pattern such as ``runs/*/final.pt``."""
    lr: float | None = None
    """Learning rate at the end of training; with ``checkpoints`` only."""
    step: int | None = None
    """Number of optimiser steps of the training; with ``checkpoints`` only."""
    checkpoints: list[GivenCheckpointConfig] = field(default_factory=list)
    """Checkpoints before the end, in the order of training."""

    def __post_init__(self) -> None:
        where = f"ensemble.files: '{self.final}'"
        if not self.checkpoints:
            if self.lr is not None or self.step is not None:
                raise ValueError(
                    f"{where}: lr and step belong to checkpoints; add checkpoints, or leave both out"
                )
            return
        if self.lr is None or self.step is None:
            raise ValueError(f"{where}: with checkpoints, give 'lr' and 'step' of the final model as well")
        check_not_negative(where, lr=self.lr)
        check_positive(where, step=self.step)
        if not any(self.learning_rates):
            raise ValueError(f"{where}: all learning rates are 0; give those of the training")
        if self.steps != sorted(set(self.steps)):
            raise ValueError(f"{where}: steps must grow from checkpoint to checkpoint, not {self.steps}")

    @property
    def files(self) -> list[str]:
        """Files of the checkpoints, that of the final model last."""
        return [*(checkpoint.file for checkpoint in self.checkpoints), self.final]

    @property
    def steps(self) -> list[int]:
        """Optimiser steps until each of :attr:`files`; for a final model alone, a single step of unknown length."""
        return [*(checkpoint.step for checkpoint in self.checkpoints), self.step or 1]

    @property
    def learning_rates(self) -> list[float]:
        """Learning rate at each of :attr:`files`; 1 for a final model alone."""
        return [*(checkpoint.lr for checkpoint in self.checkpoints), 1.0 if self.lr is None else self.lr]


@dataclass
class EnsembleConfig:
    """Independently seeded models trained on all examples."""

    members: int = 10
    checkpoints: int = 8
    """Checkpoints saved along training in addition to the final model, each about twice as late as the one before. Of
    ``files``, the largest number that a member has."""
    files: list[GivenMemberConfig] = field(default_factory=list)
    """Models that are trained already, one entry per member; empty if the members are trained here."""

    def __post_init__(self) -> None:
        if self.files:
            self.members = len(self.files)
            self.checkpoints = max(len(member.checkpoints) for member in self.files)
        check_positive("ensemble", members=self.members)
        check_not_negative("ensemble", checkpoints=self.checkpoints)

    def checkpoints_of(self, members: int) -> int:
        """Return the number of checkpoints that each of the first ``members`` members has."""
        return min((len(member.checkpoints) for member in self.files[:members]), default=self.checkpoints)

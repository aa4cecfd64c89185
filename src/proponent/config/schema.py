"""Dataclasses behind the YAML files of settings and designs; the default of a field is the benchmark's default.

Every value comes from a default here or from YAML, and content keys are digests of the resolved dataclasses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from proponent.config.planted import PlantedConfig
from proponent.config.ranges import check_not_negative, check_positive, check_within
from proponent.config.training_command import split_command


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


class DesignKind(Enum):
    """Ways to draw the subsets and seeds of ground-truth retrainings."""

    subsets = "subsets"
    subsets_fixed_seed = "subsets_fixed_seed"
    loo = "loo"
    fit = "fit"
    permutations = "permutations"
    complements = "complements"


class Inputs(Enum):
    """Meaning of a row of x."""

    numbers = "numbers"
    tokens = "tokens"
    """A text as token numbers (length,), 0 = padding."""


@dataclass
class FactoryConfig:
    """An importable Python callable and its keyword arguments."""

    factory: str
    args: dict[str, Any] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    """Files that the factory reads; their bytes are part of the content key."""


@dataclass
class TaskConfig:
    """Loss and target of a setting: a task of this package, or a class of the user's own."""

    name: str
    """Name of a task (:data:`proponent.config.task_names.TASKS`), or ``package.module:Task``."""
    args: dict[str, Any] = field(default_factory=dict)
    """Arguments of the task by name."""

    @property
    def lacks_classes(self) -> str | None:
        """Why examples do not have one class each; None if they have."""
        if self.name not in CLASS_TASKS:
            return self.name
        return f"{self.name} with ignore_index" if self.args.get("ignore_index") is not None else None

    def is_among(self, wanted: Sequence[str]) -> bool:
        """Return whether the task is one of ``wanted``; binary classification is classification."""
        if self.lacks_classes is None:
            return self.name in wanted or "classification" in wanted
        return self.name in wanted and self.name not in CLASS_TASKS


CLASS_TASKS = ("classification", "binary")
"""Tasks whose labels are classes, one per example."""


@dataclass
class PretrainedConfig:
    """Trained weights that a model factory loads, from which every model of the setting starts."""

    name: str
    """Where the weights come from, for readers of the results."""
    file: str
    """File or folder of the weights, relative to the checkout; its bytes are part of the content key."""
    licence: str = "unknown"


@dataclass
class ModelConfig(FactoryConfig):
    """A model factory."""

    pretrained: PretrainedConfig | None = None


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


@dataclass
class DesignConfig:
    """A design of ground-truth retrainings."""

    kind: DesignKind = DesignKind.subsets
    count: int = 100
    seeds: int = 2
    fraction: float = 0.5
    """Share of the training set that a subset keeps. The ``loo`` design leaves out one example each instead; a prefix of
    the ``permutations`` design is longer by this share than the one before. Complements are halves."""

    def __post_init__(self) -> None:
        check_positive("designs", count=self.count, seeds=self.seeds)
        if not 0 < self.fraction < 1:
            raise ValueError(f"designs: fraction must lie between 0 and 1, not {self.fraction}")
        if self.kind is DesignKind.permutations and self.fraction > 0.5:
            raise ValueError(f"designs: fraction of permutations must be at most 0.5, not {self.fraction}")
        if self.kind is DesignKind.complements and self.fraction != 0.5:
            raise ValueError(f"designs: fraction of complements must be 0.5, not {self.fraction}")


def n_prefixes(design: DesignConfig) -> int:
    """Return the number of prefixes per order of the ``permutations`` design; the last one keeps everything."""
    return round(1 / design.fraction)


def n_rows(design: DesignConfig) -> int:
    """Return the number of masks.

    ``count``; one more for ``loo``, whose first row keeps everything; all prefixes of ``count`` orders for ``permutations``;
    both halves of ``count`` pairs for ``complements``.
    """
    if design.kind is DesignKind.permutations:
        return design.count * n_prefixes(design)
    if design.kind is DesignKind.complements:
        return design.count * 2
    return design.count + (design.kind is DesignKind.loo)


@dataclass
class QueriesConfig:
    """Number of queries that choose hyper-parameters (the first rows) and of those that are reported on (the next rows)."""

    tune: int = 100
    test: int = 100

    def __post_init__(self) -> None:
        check_positive("queries", tune=self.tune, test=self.test)


@dataclass
class LabelNoiseConfig:
    """Corruption of labels: those of ``fraction`` of the training examples are moved uniformly to another class."""

    fraction: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1:
            raise ValueError(f"label_noise: fraction must lie between 0 and 1, not {self.fraction}")


@dataclass
class SettingConfig:
    """One problem on which methods are compared."""

    dataset: FactoryConfig
    model: ModelConfig | None = None
    """Model; None only where ``training.targets`` is ``script``, and then no member of the ensemble is trained."""
    recipe: RecipeConfig | None = None
    """Training by this project. Exactly one of ``recipe``, ``training.command`` and ``ensemble.files`` is given."""
    training: TrainingConfig | None = None
    """Training elsewhere, by a command or before."""
    preprocess: FactoryConfig | None = None
    """Factory of a function that is applied to the inputs of every model, for example from bytes to numbers in [0, 1]."""
    task: TaskConfig = field(default_factory=lambda: TaskConfig("classification"))
    target: FactoryConfig | None = None
    """Function of outputs and labels to attribute instead of the task's own target."""
    inputs: Inputs = Inputs.numbers
    augment: FactoryConfig | None = None
    """Random changes of the inputs of each batch during training (:mod:`proponent.settings.augmentation`)."""
    ensemble: EnsembleConfig = field(default_factory=EnsembleConfig)
    designs: dict[str, DesignConfig] = field(default_factory=dict)
    queries: QueriesConfig = field(default_factory=QueriesConfig)
    label_noise: LabelNoiseConfig | None = None
    planted: PlantedConfig | None = None
    sources: str | None = None
    """File with one line per training example, in order: where it comes from (a writer, a document, a site)."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Methods that are not run on this setting, with the reason for each."""
    seed: int = 0
    description: str = ""

    def __post_init__(self) -> None:
        ways = {
            "recipe": self.recipe is not None,
            "training.command": self.training is not None and self.training.command is not None,
            "ensemble.files": bool(self.ensemble.files),
        }
        given = [f"'{way}'" for way, is_given in ways.items() if is_given]
        if not given:
            raise ValueError(
                "'recipe' is missing; models that are trained elsewhere have training.command or ensemble.files instead"
            )
        if len(given) > 1:
            raise ValueError(f"give exactly one of {', '.join(ways)}, not {' and '.join(given)}")
        if self.recipe is not None and self.training is not None:
            raise ValueError("training describes a training elsewhere; with 'recipe', leave it out")
        if self.model is None and self.targets_from is TargetsFrom.weights:
            raise ValueError(
                "'model' is missing; only a setting with 'training: {targets: script}' can be without"
            )
        if self.model is None and (self.target is not None or self.preprocess is not None):
            raise ValueError(
                f"{'target' if self.target else 'preprocess'} belongs to a model, and there is none; leave it out"
            )
        self._refuse_training_of_given_models()
        if self.trained_by == "command" and self.augment is not None:
            raise ValueError(
                "augment changes batches of a recipe; with training.command, the script augments"
            )
        tuning = self.designs.get("tune")
        if tuning is not None and tuning.kind is not DesignKind.subsets:
            raise ValueError(f"designs: tune must be of kind subsets, not {tuning.kind.value}")

    def _refuse_training_of_given_models(self) -> None:
        """Refuse what only a training can use where all models are trained already."""
        if not self.ensemble.files:
            return
        if self.designs:
            raise ValueError(
                f"designs ({', '.join(self.designs)}) need a recipe or training.command, which can train on subsets; "
                "with ensemble.files, leave designs out"
            )
        if self.augment is not None:
            raise ValueError(
                "augment changes training batches, and ensemble.files are trained already; leave it out"
            )

    @property
    def trained_by(self) -> str:
        """How the models are trained: ``recipe``, ``command`` or, if they were trained before, ``files``."""
        if self.recipe is not None:
            return "recipe"
        return "files" if self.ensemble.files else "command"

    @property
    def command(self) -> tuple[str, ...]:
        """Arguments of the command that trains a model, with placeholders; empty without a command."""
        return split_command(self.training.command) if self.training and self.training.command else ()

    @property
    def targets_from(self) -> TargetsFrom:
        """Origin of the targets of retrained models."""
        return self.training.targets if self.training else TargetsFrom.weights

    @property
    def trains(self) -> bool:
        """Whether members and retrainings are trained in this benchmark, by a recipe or a command."""
        return not self.ensemble.files

    @property
    def optimizer(self) -> Optimizer | None:
        """Optimiser of the training; None if it is unknown."""
        return self._training.optimizer

    @property
    def momentum(self) -> float:
        """Momentum of the training, by which steps are longer than their learning rate."""
        return self._training.momentum

    @property
    def weight_decay(self) -> float:
        """Weight decay of the training."""
        return self._training.weight_decay

    @property
    def precision(self) -> Precision:
        """Floating point numbers of data, models and features."""
        return self._training.precision

    @property
    def _training(self) -> RecipeConfig | TrainingConfig:
        return self.recipe or self.training or TrainingConfig()

    @property
    def factories(self) -> dict[str, FactoryConfig]:
        """Factories by the key that names them."""
        found = {
            "dataset": self.dataset,
            "model": self.model,
            "preprocess": self.preprocess,
            "augment": self.augment,
            "target": self.target,
        }
        return {key: factory for key, factory in found.items() if factory is not None}

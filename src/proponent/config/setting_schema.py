"""Dataclasses behind the YAML file of a setting; the default of a field is the benchmark's default.

Every value comes from a default here or from YAML, and content keys are digests of the resolved dataclasses.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from proponent.config.design_schema import DesignConfig, DesignKind
from proponent.config.ensemble_schema import EnsembleConfig, TargetsFrom, TrainingConfig
from proponent.config.model_schema import FactoryConfig, ModelConfig, TaskConfig
from proponent.config.planted import PlantedConfig
from proponent.config.ranges import check_positive
from proponent.config.recipe_schema import Optimizer, Precision, RecipeConfig
from proponent.config.training_command import split_command


class Inputs(Enum):
    """Meaning of a row of x."""

    numbers = "numbers"
    tokens = "tokens"
    """A text as token numbers (length,), 0 = padding."""


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

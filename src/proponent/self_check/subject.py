"""The subject of a self-check: a setting's model, data, task and trainings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from proponent.config.design_schema import DesignConfig
from proponent.config.recipe_schema import RecipeConfig
from proponent.errors import UserError
from proponent.rows import Rows, outputs_of
from proponent.settings.batch_augmentation import Augment
from proponent.settings.kept_buffers import buffers_kept
from proponent.settings.split import Arrays
from proponent.settings.tasks import Task
from proponent.training.dropout import Draw, recorded_draws


@dataclass(frozen=True)
class Subject:
    """A setting, before anything is trained.

    Attributes:
        setting: name of the setting.
        build: model factory, from a seed to a new model.
        data: training examples and queries, on the CPU.
        task: task that gives loss and target.
        recipe: recipe of the trainings; None if models are trained elsewhere, and then nothing is tried in training mode.
        designs: designs of retrainings by name; the number of masks matters for ``loo`` only.
        seed: seed of the setting.
        device: device of the engines.
        augment: augmentation of the training batches.
        weights: state dict of a model that is trained already; empty for models that are trained later.
    """

    setting: str
    build: Callable[[int], nn.Module]
    data: Arrays
    task: Task
    recipe: RecipeConfig | None
    designs: Mapping[str, DesignConfig] = field(default_factory=dict)
    seed: int = 0
    device: str = "cpu"
    augment: Augment | None = None
    weights: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def modes(self) -> tuple[bool, ...]:
        """Modes in which the model is tried: eval (False), and training (True) if this project trains it."""
        return (False,) if self.recipe is None else (False, True)

    @property
    def when(self) -> str:
        """State of the model that is tried, as the end of a sentence."""
        return "with the weights of ensemble.files" if self.weights else "before any training"

    def model(self) -> nn.Module:
        """Return a new model, with the given weights if there are any."""
        model = self.build(0)
        if self.weights:
            model.load_state_dict(self.weights)
        return model

    def problem(self, text: str) -> UserError:
        """Return the error of a finding: the file of the setting, and one line."""
        return UserError(f"configs/settings/{self.setting}.yaml: {text}")

    def parts(self) -> Iterator[tuple[str, Rows, Tensor]]:
        """Yield the name of a row, the inputs and the labels of the training examples, then of the queries."""
        yield "training example", self.data.x_train, self.data.y_train
        yield "query", self.data.x_query, self.data.y_query

    def some(self, count: int) -> Tensor:
        """Return at most ``count`` rows of the training set, spread over it."""
        n = len(self.data.x_train)
        return torch.linspace(0, n - 1, min(count, n)).round().long().unique()


def forward(model: nn.Module, x: Rows, *, training: bool) -> tuple[Tensor, list[Draw]]:
    """Return the outputs of a model, and the dropout masks that it asks for in training, of which none is applied.

    Buffers that the pass updates are restored.
    """
    model.train(training)
    with torch.no_grad(), buffers_kept(model):
        if not training:
            return outputs_of(model, x), []
        with recorded_draws() as draws:
            return outputs_of(model, x), list(draws)


def close(one: Tensor, other: Tensor, tolerance: float = 1e-3) -> bool:
    """Return whether two tensors have one shape and differ by at most a share of the largest element."""
    if one.shape != other.shape:
        return False
    one, other = one.double(), other.double()
    scale = float(one.abs().max().clamp_min(1e-6)) if one.numel() else 1.0
    return bool(((one - other).abs() <= tolerance * scale).all())

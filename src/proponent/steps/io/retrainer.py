"""Retraining of a setting's model on given masks, and what the models say of the queries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from proponent.config.model_schema import FactoryConfig
from proponent.config.specifications.derived_specs import DerivedTrainingSpec
from proponent.settings.batch_augmentation import build_augment
from proponent.settings.split import Arrays
from proponent.settings.tasks import Task, get_task
from proponent.steps.io.job import Job
from proponent.steps.io.lockstep_size import lockstep_of
from proponent.steps.io.setting_inputs import checked_model
from proponent.training.designs import Run
from proponent.training.lockstep import in_lockstep, train
from proponent.training.predict import MODELS, targets


@dataclass(frozen=True)
class Predictions:
    """What retrained models say of the queries.

    Attributes:
        targets: (n_runs, n_query) float32.
        correct: (n_runs, n_query) bool, whether the query's label is predicted; all False where there are no classes.
        diverged: (n_runs,) bool.
    """

    targets: Tensor
    correct: Tensor
    diverged: Tensor


class Retrainer:
    """Trains the model of a job's setting on masks.

    Args:
        job: job whose specification names model, recipe, task and target.
        data: training examples and queries.

    Raises:
        UserError: the model cannot be built, or does not fit the data.
    """

    def __init__(self, job: Job[DerivedTrainingSpec, Any], data: Arrays) -> None:
        spec = job.spec
        task = get_task(spec.task, spec.target)
        self._job, self._recipe = job, spec.recipe
        self._build = checked_model(spec.model, task, data, spec.setting, spec.recipe.precision)
        self._augment = build_augment(spec.augment)
        self._task, self._data = data.weighted(task)
        self._lead = _lead(spec) if spec.task.lacks_classes is None else None
        self._lockstep = 0

    def groups(self, runs: Sequence[Run]) -> Iterator[list[int]]:
        """Yield the runs that are trained at the same time, as indices in ascending order.

        In the order of the runs, because the models that are evaluated together can change each other's last bits.
        """
        self._lockstep = lockstep_of(self._job, self._build, self._data, self._task, self._recipe, runs)
        for group in in_lockstep(self._recipe, runs, len(self._data.y_train), self._lockstep):
            yield sorted(group)

    def train(self, runs: Sequence[Run]) -> Predictions:
        """Train one group, and return what its models say; a model with a target that is not finite has diverged."""
        data, job = self._data, self._job
        trained = train(
            self._build,
            data.x_train,
            data.y_train,
            self._task,
            self._recipe,
            runs,
            augment=self._augment,
            lockstep=self._lockstep,
            device=job.device,
        )
        job.details |= {"stacked": trained.stacked, "models_at_a_time": trained.together}
        models, together = (trained.template, trained.state), min(self._lockstep, MODELS)
        found = targets(*models, data.x_query, data.y_query, self._task, models=together).float()
        correct = torch.zeros(found.shape, dtype=torch.bool)
        if self._lead is not None:
            correct = targets(*models, data.x_query, data.y_query, self._lead, models=together) > 0
        diverged = ~found.isfinite().all(1)
        diverged[trained.diverged] = True
        found[diverged] = torch.nan
        return Predictions(found, correct, diverged)


def _lead(spec: DerivedTrainingSpec) -> Task:
    """Return a task whose target is positive exactly where the label is predicted, whatever the setting attributes."""
    if spec.task.name == "classification":
        return get_task(spec.task, FactoryConfig("proponent.settings.targets:lead"))
    return get_task(spec.task)  # the margin of binary classification

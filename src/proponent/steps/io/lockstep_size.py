"""Number of models that a job trains at a time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from proponent.config.recipe_schema import RecipeConfig
from proponent.config.specifications.training_specs import TrainingSpec
from proponent.settings.split import Arrays
from proponent.settings.tasks import Task
from proponent.steps.io.job import Job
from proponent.training.designs import Run
from proponent.training.memory import models_that_fit

Trains = TypeVar("Trains", bound=TrainingSpec)


def lockstep_of(
    job: Job[Trains, Any],
    build: Callable[[int], nn.Module],
    data: Arrays,
    task: Task,
    recipe: RecipeConfig,
    runs: Sequence[Run],
    checkpoints: int = 0,
) -> int:
    """Return ``compute.lockstep``, or the number of models that fit on the job's GPU if that is smaller.

    In the second case the log and the manifest say so. On a CPU the configuration alone decides.
    """
    asked, device = job.spec.lockstep, job.device
    if device == "cpu":
        return asked
    size = torch.cuda.get_device_properties(device).total_memory
    fits = models_that_fit(
        build, data.x_train, data.y_train, task, recipe, runs, size, device=device, checkpoints=checkpoints
    )
    if fits < min(asked, len(runs)):
        print(f"{fits} models at a time, not {asked}: the device has {size / 2**30:.0f} GiB", file=sys.stderr)
        job.details["lockstep"] = fits
    return min(asked, fits)

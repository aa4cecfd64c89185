"""Data, model and recipe of a setting, from a job's specification and inputs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from proponent.config.schema import FactoryConfig, Precision
from proponent.config.specifications.step_inputs import DataInputs
from proponent.config.specifications.step_specs import StepSpec
from proponent.settings.factories import build_model
from proponent.settings.split import Arrays, check_model
from proponent.settings.tasks import Task, get_task
from proponent.steps.io.job import Job
from proponent.store.tensors import load_tensors


def load_data(job: Job[StepSpec, DataInputs]) -> Arrays:
    """Read the train and query tensors of a job's setting."""
    train = job.read(job.inputs.data)
    first, second = load_tensors(train), load_tensors(train.with_name("query.safetensors"))
    return Arrays(first["x"], first["y"], second["x"], second["y"])


def checked_model(
    model: FactoryConfig, task_name: str, data: Arrays, setting: str, precision: Precision
) -> tuple[Callable[[int], nn.Module], Task]:
    """Return how to build a model from a seed, and the task, after building one model and trying it on the data.

    Args:
        model: factory of the model.
        task_name: name of the task.
        data: training examples and queries that the model must accept.
        setting: name of the setting, for messages.
        precision: precision of the recipe.

    Raises:
        UserError: the model cannot be built, or does not fit the data.
    """
    task = get_task(task_name)
    check_model(build_model(model, 0, precision), data, task, setting)
    return partial(build_model, model, precision=precision), task


def load_model(model: FactoryConfig, task_name: str, precision: Precision) -> tuple[nn.Module, Task]:
    """Return a model of the setting's architecture, whose parameters are yet to be loaded, and the task."""
    return build_model(model, 0, precision), get_task(task_name)

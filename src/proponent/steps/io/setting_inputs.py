"""Data, model and recipe of a setting, from a job's specification and inputs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from proponent.config.model_schema import FactoryConfig
from proponent.config.recipe_schema import Precision
from proponent.config.specifications.step_inputs import DataInputs
from proponent.config.specifications.step_spec import StepSpec
from proponent.rows import rows_of
from proponent.settings.factories import build_model
from proponent.settings.split import Arrays, check_model
from proponent.settings.tasks import Task
from proponent.sharded_tensor import ShardedTensor
from proponent.steps.io.job import Job
from proponent.store.sharded_arrays import read_shards
from proponent.store.tensors import load_tensors


def load_data(job: Job[StepSpec, DataInputs]) -> Arrays:
    """Return the train and query tensors of a job's setting, whose rows are read when they are used."""
    train = job.read(job.inputs.data)
    first = read_shards(train, load_tensors, ShardedTensor)
    second = load_tensors(train.with_name("query.safetensors"))
    y_train, y_query = first.pop("y"), second.pop("y")
    weight = first.pop("weight", None)
    return Arrays(rows_of(first), y_train, rows_of(second), y_query, weight)


def checked_model(
    model: FactoryConfig, task: Task, data: Arrays, setting: str, precision: Precision
) -> Callable[[int], nn.Module]:
    """Return how to build a model from a seed, after building one model and trying it on the data.

    Args:
        model: factory of the model.
        task: task that checks the outputs.
        data: training examples and queries that the model must accept.
        setting: name of the setting, for messages.
        precision: precision of the recipe.

    Raises:
        UserError: the model cannot be built, or does not fit the data.
    """
    check_model(build_model(model, 0, precision), data, task, setting)
    return partial(build_model, model, precision=precision)

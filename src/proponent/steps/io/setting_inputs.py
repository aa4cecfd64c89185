"""From artefacts to what the stages work on: data, how to train, and (lazily, a member at a time) features."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from proponent.config.load import structured
from proponent.config.schema import FactoryConfig, RecipeConfig
from proponent.settings.factories import build_model
from proponent.settings.split import Arrays, check_model
from proponent.settings.tasks import Task, get_task
from proponent.steps.io.job import Job
from proponent.store.tensors import load_tensors


def load_data(job: Job) -> Arrays:
    """Read the train and query tensors among the job's inputs."""
    train = job.read(job.input("/data/train.safetensors"))
    first, second = load_tensors(train), load_tensors(train.with_name("query.safetensors"))
    return Arrays(first["x"], first["y"], second["x"], second["y"])


def training_of(job: Job, data: Arrays) -> tuple[Callable[[int], nn.Module], Task, RecipeConfig]:
    """Return how to build a model from a seed, the task and the recipe of a job that trains.

    Raises:
        UserError: the model cannot be built, or does not fit the data.
    """
    source = f"configs/settings/{job.spec['setting']}.yaml"
    config = structured(FactoryConfig, job.spec["model"], source)
    task = get_task(job.spec["task"])
    recipe = structured(RecipeConfig, job.spec["recipe"], source)
    check_model(build_model(config, 0), data, task, job.spec["setting"])
    return partial(build_model, config), task, recipe


def load_model(job: Job) -> tuple[nn.Module, Task]:
    """Return the architecture of a job's model (whose parameters are to be loaded) and the task."""
    config = structured(FactoryConfig, job.spec["model"], f"configs/settings/{job.spec['setting']}.yaml")
    return build_model(config, 0), get_task(job.spec["task"])

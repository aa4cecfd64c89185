"""Number of models that a device holds while they are trained in lockstep, from shapes and one forward pass.

The number depends on the model, the recipe, the data and the size of the device's memory, and not on how much memory is
free: two devices of one kind train the same groups, and so give the same results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from proponent.config.recipe_schema import Optimizer, RecipeConfig
from proponent.rows import Rows, named_tensors, numbers_per_row
from proponent.settings.preprocessing import preprocess_of
from proponent.settings.tasks import Task
from proponent.training.designs import Run
from proponent.training.kept_activations import pass_bytes
from proponent.training.pass_choice import pass_choice

SHARE = 0.8
"""Share of the device's memory to use; the rest is for the driver, workspaces of libraries and gaps between tensors."""


def models_that_fit(
    build: Callable[[int], nn.Module],
    x: Rows,
    y: Tensor,
    task: Task,
    recipe: RecipeConfig,
    runs: Sequence[Run],
    device_bytes: int,
    *,
    device: str,
    checkpoints: int = 0,
) -> int:
    """Return how many of the runs' models can be trained at a time, at least one.

    Args:
        build: model factory, from a seed to a new model.
        x: (n, …) training inputs.
        y: (n, …) training labels.
        task: task that gives the loss.
        recipe: optimiser and batch size.
        runs: all runs of this job, whose results stay on the device until its end.
        device_bytes: size of the device's memory, in bytes.
        device: device on which one model is tried.
        checkpoints: checkpoints kept per model, in addition to its final state.
    """
    needed = training_bytes(build, x, y, task, recipe, runs, device=device, checkpoints=checkpoints)
    data = data_bytes(x, y) if fits_on_device(x, y, device_bytes) else 0
    return min(len(runs), max(1, needed.models_in(int(SHARE * device_bytes) - data)))


def data_bytes(x: Rows, y: Tensor) -> int:
    """Return the bytes of inputs and labels."""
    return _bytes([*named_tensors(x).values(), y])


def fits_on_device(x: Rows, y: Tensor, device_bytes: int) -> bool:
    """Return whether the data of a training are moved to a GPU as a whole: at most half of the memory that is used.

    Otherwise each batch is moved when it is needed.
    """
    return 2 * data_bytes(x, y) <= SHARE * device_bytes


class TrainingBytes(NamedTuple):
    """Memory of a job that trains models in lockstep, in bytes."""

    shared: int
    """Results of all runs, which are kept until the end of the job."""
    own: int
    """Each of the models that are trained at the same time."""
    together: int
    """Largest number of models that are trained at the same time, whatever the memory."""

    def models_in(self, available: int) -> int:
        """Return how many models can be trained at a time in ``available`` bytes; not positive if not even one can."""
        return (available - self.shared) // self.own


def training_bytes(
    build: Callable[[int], nn.Module],
    x: Rows,
    y: Tensor,
    task: Task,
    recipe: RecipeConfig,
    runs: Sequence[Run],
    *,
    device: str,
    checkpoints: int = 0,
) -> TrainingBytes:
    """Return the memory of a job without its data; the arguments are those of :func:`models_that_fit`.

    Data in the memory of a CPU are a map of their file, which the kernel drops where memory is short.
    """
    model = build(runs[0].init_seed)
    state = _bytes(model.parameters()) + _bytes(model.buffers())
    shared = len(runs) * (1 + checkpoints) * state
    own = bytes_of_one(model, x, y, task, recipe, device) + _bytes_of_order(runs, len(x))
    return TrainingBytes(shared, own, min(len(runs), pass_choice(model, x, y, task, recipe, device).models))


def bytes_of_one(model: nn.Module, x: Rows, y: Tensor, task: Task, recipe: RecipeConfig, device: str) -> int:
    """Return the bytes that one more model takes at the peak of an optimiser step.

    These are its parameters and their moments; their gradients, and a copy of these in the optimiser's order; a batch, and
    twice its numbers if they are preprocessed;
    and three times the tensors that the forward pass keeps, since the backward pass makes gradients of them and stacked
    kernels copy them.
    """
    model = model.to(device).train()
    x, y = x[: recipe.largest_batch].to(device), y[: recipe.largest_batch].to(device)
    trained = [value for value in model.parameters() if value.requires_grad]
    moments = 2 if recipe.optimizer is not Optimizer.sgd else int(recipe.momentum > 0)
    used = pass_bytes(model, x, y, task)
    fixed = _bytes(model.parameters()) + _bytes(model.buffers()) - _bytes(trained)
    numbers = len(y) * numbers_per_row(x) * trained[0].element_size() if preprocess_of(model) else 0
    inputs = used.batch + 2 * numbers  # preprocessing converts, and then computes
    return fixed + (3 + moments) * _bytes(trained) + inputs + 3 * (used.kept + used.masks)


def _bytes_of_order(runs: Sequence[Run], n: int) -> int:
    """Return the bytes of the order of a model's examples, and of their weights."""
    return n * (8 + 4 * any(run.by_weight for run in runs))


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(value.numel() * value.element_size() for value in tensors)

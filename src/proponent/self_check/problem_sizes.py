"""Sizes of a setting's model, from which the memory of every method follows before anything is trained."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import torch

from proponent.errors import UserError
from proponent.features.gradients.capture import Capture
from proponent.rows import outputs_of
from proponent.self_check.subject import Subject
from proponent.training.flat_model import FlatModel


@dataclass(frozen=True)
class Sizes:
    """Sizes of a model.

    Attributes:
        shapes: shapes of the trainable parameters that the outputs depend on.
        itemsize: bytes of a number of the parameters.
        n_outputs: numbers in the outputs of one example.
        factored: numbers in the exact gradient of one example, stored as factors; 0 for a model without such gradients.
        last: the same for the last linear layer alone.
        root_row: numbers in a row of a root of the Gauss-Newton matrix, stored as factors; 0 like ``factored``.
        replay_mib: memory of the activations in a pass over a batch of a replay, in MiB; 0 for a model without replays.
    """

    shapes: tuple[tuple[int, ...], ...]
    itemsize: int
    n_outputs: int
    factored: int
    last: int
    root_row: int
    replay_mib: float


def sizes_of(subject: Subject) -> Sizes:
    """Return the sizes of an untrained model, from forward passes of one example and of one batch.

    Args:
        subject: setting whose model passed the check.
    """
    data, recipe = subject.data, subject.recipe
    model = subject.build(0)
    parameters = [value for value in model.parameters() if value.requires_grad]
    shapes = tuple(tuple(value.shape) for value in parameters)
    factored, last, root_row = 0, 0, 0
    try:
        capture = Capture(model, data.x_train[:1])
    except (UserError, RuntimeError):
        with torch.no_grad():
            n_outputs = outputs_of(model.eval(), data.x_train[:1])[0].numel()
    else:
        shapes = tuple(tuple(shape) for shape in capture.shapes.values())
        factored, last = capture.numbers_per_example(), capture.numbers_per_example(capture.last)
        root_row = capture.numbers_per_root_row(data.x_train)
        n_outputs = capture.outputs(data.x_train[:1])[0].numel()
    replay_mib = 0.0
    if recipe is not None:
        with suppress(UserError, RuntimeError):
            flat = FlatModel(subject.build(0), subject.task, data.x_train[: recipe.largest_batch])
            replay_mib = flat.pass_mib(max(len(data.x_query), recipe.largest_batch))
    return Sizes(shapes, parameters[0].element_size(), n_outputs, factored, last, root_row, replay_mib)

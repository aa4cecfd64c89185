"""Features of one member as tensors to store, and back: for the steps ``featurize`` and ``attribute``.

Gradients are stored exactly, as factors, if they fit; otherwise as a sparse random projection, together with the last
linear layer's gradients, exact or as a projection of their own. The choice depends on shapes and the memory budget only, is
made before anything is computed, and is part of the description that is returned.

The budget covers the returned tensors (at most half of it) and forward and backward passes (at most a quarter of it, and
``PASS_MIB``). The data and two copies of the parameters take memory in addition to the budget.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Literal

from torch import Tensor, nn

from proponent.features.gradient_forms import choose_form, gradients_in_form, note_projected
from proponent.features.gradients.block import Block
from proponent.features.gradients.capture import Capture, base_cotangents, target_cotangents
from proponent.features.gradients.serialise import from_tensors, to_tensors
from proponent.features.member_network import PASS_MIB
from proponent.features.representations import is_representation, outputs, representations
from proponent.features.storage_choice import StorageChoice
from proponent.features.views import (
    CheckpointTimes,
    GradientPair,
    Gradients,
    History,
    OutputPair,
    Outputs,
    RepresentationPair,
    Representations,
    note_saturated,
)
from proponent.rows import Rows, named_tensors
from proponent.settings.split import Arrays
from proponent.settings.tasks import Task

Kind = Literal["gradients", "outputs", "representations"]
LoadState = Callable[[int], dict[str, Tensor]]
"""Function from the index of a checkpoint to its state dict."""
Get = Callable[[str], Tensor]
"""Function from the name of a stored tensor to the tensor."""
Features = tuple[dict[str, Tensor], dict[str, Any]]
"""Tensors by name, and a description in plain values."""


def featurize(
    kind: Kind,
    module: nn.Module,
    load_state: LoadState,
    checkpoints: int,
    task: Task,
    data: Arrays,
    *,
    memory_mib: int,
    seed: int = 0,
) -> Features:
    """Return the features of one member at all its checkpoints.

    Args:
        kind: features to compute.
        module: module that is loaded with each checkpoint in turn.
        load_state: function from the index of a checkpoint to its state dict.
        checkpoints: number of checkpoints, the final one last.
        task: task that gives the target.
        data: all training examples and queries, on the module's device.
        memory_mib: memory budget in MiB; see the module's docstring.
        seed: seed of a projection, different for each member.

    Returns:
        Tensors by name, and a description in plain values with which :func:`read_gradients`,
        :func:`read_outputs` and :func:`read_representations` build the member's features again. The description of
        gradients holds the choice (``factored`` or ``projected``), the bytes of the chosen form and of the factored
        one, and the projection's dimensions.

    Raises:
        UserError: not even a small projection fits, or the model cannot be expressed.
    """
    tensors: dict[str, Tensor] = {}
    description: dict[str, Any] = {"kind": kind}
    pass_mib = max(1, min(PASS_MIB, memory_mib // 4))
    choice: StorageChoice | None = None
    for index in range(checkpoints):
        module.load_state_dict(load_state(index))
        capture = Capture(module, data.x_train[:1])
        if kind == "representations":
            own, described = _representations(capture, data, pass_mib)
        elif kind == "outputs":
            own, described = _outputs(capture, task, data, pass_mib)
        else:
            rows = (len(data.x_train) + len(data.x_query)) * checkpoints
            choice = choice or choose_form(capture, rows, memory_mib // 2)
            own, described = _gradients(capture, task, data, choice, seed, pass_mib)
        tensors |= {f"{index}.{name}": tensor for name, tensor in own.items()}
        description |= described
    return tensors, description


def _representations(capture: Capture, data: Arrays, pass_mib: int) -> Features:
    """Return the representations at one checkpoint.

    A linear model's representation is its input, of which no copy is stored.
    """
    for name, value in named_tensors(data.x_train).items():
        if is_representation(capture, data.x_train, value, pass_mib):
            return {}, {"input": name}
    train = representations(capture, data.x_train, pass_mib)
    return {"train": train, "query": representations(capture, data.x_query, pass_mib)}, {"input": None}


def _outputs(capture: Capture, task: Task, data: Arrays, pass_mib: int) -> Features:
    """Return the outputs and the loss weights at one checkpoint."""
    train = outputs(capture, data.x_train, pass_mib)
    query = outputs(capture, data.x_query, pass_mib)
    return {"train": train, "query": query, "loss_weight": task.loss_weight(train, data.y_train)}, {}


def _gradients(
    capture: Capture, task: Task, data: Arrays, choice: StorageChoice, seed: int, pass_mib: int
) -> Features:
    """Return the gradients of the base and of the target, and the loss weights, at one checkpoint."""
    tensors: dict[str, Tensor] = {}
    layout: dict[str, Any] = {}
    sides = (
        ("train", base_cotangents(task), data.x_train, data.y_train),
        ("query", target_cotangents(task), data.x_query, data.y_query),
    )
    for side, cotangents, x, y in sides:
        block, out = gradients_in_form(capture, cotangents, x, y, choice, seed, pass_mib)
        stored, layout = to_tensors(block)
        tensors |= {f"{side}.{name}": tensor for name, tensor in stored.items()}
        if side == "train":
            tensors["loss_weight"] = task.loss_weight(out, y)
            tensors["loss_curvature"] = task.loss_curvature(out, y)
    return tensors, {**asdict(choice), "layout": layout}


def read_gradients(
    description: dict[str, Any],
    get: Get,
    data: Arrays,
    member: int,
    times: CheckpointTimes,
    query_rows: slice = slice(None),
) -> Gradients:
    """Return a member's gradients from the results of :func:`featurize`.

    Args:
        description: description in plain values.
        get: function from the name of a stored tensor to the tensor.
        data: all training examples and queries; gradients are stored without inputs that are the data itself.
        member: index in the ensemble.
        times: times of the checkpoints.
        query_rows: range of the queries to attribute.
    """
    if description["choice"] == "projected":
        has_last = "names" not in description["layout"]["last"]
        note_projected(description["dim"], has_last and not description.get("last_dim"), "compute.memory_mib")

    def block(index: int, side: str, x: Rows) -> Block:
        return from_tensors(description["layout"], lambda name: get(f"{index}.{side}.{name}"), x)

    def load(index: int) -> GradientPair:
        loss_weight = get(f"{index}.loss_weight")
        note_saturated(loss_weight, times.steps[index] / times.steps[-1])
        return GradientPair(
            block(index, "train", data.x_train),
            block(index, "query", data.x_query).slice(query_rows),
            loss_weight,
            get(f"{index}.loss_curvature"),
            times.learning_rates[index],
            times.durations[index],
        )

    return History(member, times, load)


def read_outputs(get: Get, member: int, times: CheckpointTimes, query_rows: slice = slice(None)) -> Outputs:
    """Return a member's outputs from the results of :func:`featurize`; see :func:`read_gradients`."""

    def load(index: int) -> OutputPair:
        return OutputPair(
            get(f"{index}.train"), get(f"{index}.query")[query_rows], get(f"{index}.loss_weight")
        )

    return History(member, times, load)


def read_representations(
    description: dict[str, Any],
    get: Get,
    data: Arrays,
    member: int,
    times: CheckpointTimes,
    query_rows: slice = slice(None),
) -> Representations:
    """Return a member's representations from the results of :func:`featurize`; see :func:`read_gradients`."""

    def load(index: int) -> RepresentationPair:
        if (name := description["input"]) is not None:
            train, query = named_tensors(data.x_train)[name], named_tensors(data.x_query)[name]
            return RepresentationPair(train.flatten(1), query[query_rows].flatten(1))
        return RepresentationPair(get(f"{index}.train"), get(f"{index}.query")[query_rows])

    return History(member, times, load)

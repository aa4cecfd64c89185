"""Features of one member as tensors to store, and back: for the steps ``featurize`` and ``attribute``.

Gradients are stored exactly, as factors, where they fit; else as a sparse random projection, with the last
linear layer's gradients exact beside it. The choice follows from shapes and the memory budget alone, is made
before anything is computed, and is part of the description that is returned.

Peak memory: the tensors that are returned (at most half of the budget), forward and backward passes (at most
a quarter of it, and ``PASS_MIB``), and what is not in the budget: the data, and two copies of the parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from proponent.features.curvature.member_curvature import Curvature
from proponent.features.gradients.block import Block, DenseGradients
from proponent.features.gradients.capture import Capture, target_cotangents
from proponent.features.gradients.projection import Plan, plan
from proponent.features.gradients.serialise import put_together, take_apart
from proponent.features.representations import outputs, representations
from proponent.features.views import (
    CheckpointTimes,
    GradientPair,
    Gradients,
    History,
    Network,
    OutputPair,
    Outputs,
    RepresentationPair,
    Representations,
    Stage,
)
from proponent.settings.split import Arrays
from proponent.settings.tasks import Task

Kind = Literal["gradients", "outputs", "representations"]
LoadState = Callable[[int], dict[str, Tensor]]
"""From the index of a checkpoint to its state dict."""
Get = Callable[[str], Tensor]
"""From the name of a stored tensor to the tensor."""

PASS_MIB = 512
"""Forward and backward passes: with more memory they are no faster."""
PROJECTION = "sparse"


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
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the features of one member at all its checkpoints.

    Args:
        kind: what to compute.
        module: is loaded with each checkpoint in turn.
        load_state: reads one.
        checkpoints: how many there are, the final one last.
        task: gives the target.
        data: all training examples and queries, on the module's device.
        memory_mib: see the module's docstring.
        seed: of a projection; another for each member.

    Returns:
        Tensors by name, and a description in plain values with which :func:`read_gradients`,
        :func:`read_outputs` and :func:`read_representations` build the member's features again. Of gradients
        it holds the choice (``factored`` or ``projected``), the bytes of the chosen form and of the factored
        one, and the projection's dimensions.

    Raises:
        UserError: not even a small projection fits, or the model cannot be expressed.
    """
    pass_mib = max(1, min(PASS_MIB, memory_mib // 4))
    tensors: dict[str, Tensor] = {}
    description: dict[str, Any] = {"kind": kind}
    for index in range(checkpoints):
        module.load_state_dict(load_state(index))
        capture = Capture(module, data.x_train[:1])
        if kind == "representations":
            own = {
                f"{index}.{side}": representations(capture, x, pass_mib)
                for side, x in (("train", data.x_train), ("query", data.x_query))
            }
            # A linear model's representation is its input, which is not worth a copy for every checkpoint.
            description["is_input"] = torch.equal(own[f"{index}.train"], data.x_train.flatten(1))
            tensors |= {} if description["is_input"] else own
            continue
        if kind == "outputs":
            for side, x in (("train", data.x_train), ("query", data.x_query)):
                tensors[f"{index}.{side}"] = outputs(capture, x, pass_mib)
            tensors[f"{index}.loss_weight"] = task.loss_weight(tensors[f"{index}.train"], data.y_train)
            continue
        if index == 0:
            chosen = _plan(capture, data, checkpoints, memory_mib // 2)
        sides = (("train", data.x_train, data.y_train), ("query", data.x_query, data.y_query))
        for side, x, y in sides:
            block, out = _gradients(capture, task, x, y, chosen, seed, pass_mib)
            stored, layout = take_apart(block)
            tensors |= {f"{index}.{side}.{name}": tensor for name, tensor in stored.items()}
            if side == "train":
                tensors[f"{index}.loss_weight"] = task.loss_weight(out, y)
        description |= {**asdict(chosen), "layout": layout}
    return tensors, description


def _plan(capture: Capture, data: Arrays, checkpoints: int, memory_mib: int) -> Plan:
    rows = (len(data.x_train) + len(data.x_query)) * checkpoints
    numbers, beside = capture.numbers_per_example(), capture.numbers_per_example(capture.last)
    return plan(rows, numbers, beside, next(iter(capture.parameters.values())).element_size(), memory_mib)


def _gradients(
    capture: Capture, task: Task, x: Tensor, y: Tensor, chosen: Plan, seed: int, pass_mib: int
) -> tuple[Block, Tensor]:
    """Return the gradients of the target in the form that was chosen, and the outputs."""
    cotangents = target_cotangents(task)
    if chosen.choice == "factored":
        return capture.all_gradients(x, y, cotangents, pass_mib)
    blocks, outs = [], []
    for _, block, out in capture.chunks(x, y, cotangents, pass_mib):
        blocks.append(block.project(chosen.dim, PROJECTION, seed))
        outs.append(out)
    return DenseGradients.concatenate(blocks), torch.cat(outs)


def read_gradients(
    description: dict[str, Any],
    get: Get,
    data: Arrays,
    member: int,
    times: CheckpointTimes,
    query_rows: slice = slice(None),
) -> Gradients:
    """Return a member's gradients from what :func:`featurize` gave.

    Args:
        description: of plain values.
        get: reads a stored tensor.
        data: all training examples and queries, on which stored gradients lean.
        member: index in the ensemble.
        times: of the checkpoints.
        query_rows: the queries that are wanted.
    """

    def block(index: int, side: str, x: Tensor) -> Block:
        return put_together(description["layout"], lambda name: get(f"{index}.{side}.{name}"), x)

    def load(index: int) -> GradientPair:
        return GradientPair(
            block(index, "train", data.x_train),
            block(index, "query", data.x_query).slice(query_rows),
            get(f"{index}.loss_weight"),
            times.learning_rates[index],
            times.durations[index],
        )

    return History(member, times, load)


def read_outputs(get: Get, member: int, times: CheckpointTimes, query_rows: slice = slice(None)) -> Outputs:
    """Return a member's outputs from what :func:`featurize` gave; see :func:`read_gradients`."""

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
    """Return a member's representations from what :func:`featurize` gave; see :func:`read_gradients`."""

    def load(index: int) -> RepresentationPair:
        if description["is_input"]:
            return RepresentationPair(data.x_train.flatten(1), data.x_query[query_rows].flatten(1))
        return RepresentationPair(get(f"{index}.train"), get(f"{index}.query")[query_rows])

    return History(member, times, load)


def network(
    module: nn.Module,
    load_state: LoadState,
    task: Task,
    data: Arrays,
    member: int,
    times: CheckpointTimes,
    *,
    weight_decay: float,
    memory_mib: int,
    query_rows: slice = slice(None),
    stages: Sequence[tuple[slice, int]] = (),
) -> Network:
    """Return a member along training, for methods that need curvature; nothing is stored.

    Args:
        module: is loaded with each checkpoint that is asked for.
        load_state: reads one.
        task: gives target and loss.
        data: on the module's device.
        member: index in the ensemble.
        times: of the checkpoints.
        weight_decay: of the recipe.
        memory_mib: of forward and backward passes, at most ``PASS_MIB``; gradients and matrices come on top.
        query_rows: the queries that are wanted.
        stages: examples of each, and the index of the checkpoint at its end; empty for one of all examples.
    """

    def blend(weights: Sequence[float]) -> Curvature:
        """Return the curvature at the mean of the checkpoints; what is no number (a step count) is the last one's."""
        total: dict[str, Tensor] = {}
        for index, weight in enumerate(weights):
            if weight:
                for name, value in load_state(index).items():
                    counts = value.is_floating_point() and name in total
                    total[name] = total[name] + weight * value if counts else _weighted(value, weight)
        return curvature(total, times.durations[-1])

    def load(index: int) -> Curvature:
        return curvature(load_state(index), times.durations[index])

    def curvature(state: Mapping[str, Tensor], duration: float) -> Curvature:
        module.load_state_dict(state)
        return Curvature(
            module,
            task,
            data.x_train,
            data.y_train,
            data.x_query[query_rows],
            data.y_query[query_rows],
            weight_decay=weight_decay,
            duration=duration,
            memory_mib=max(1, min(PASS_MIB, memory_mib)),
        )

    def stage(examples: slice) -> Network:
        return network(
            module,
            load_state,
            task,
            data._replace(x_train=data.x_train[examples], y_train=data.y_train[examples]),
            member,
            times,
            weight_decay=weight_decay,
            memory_mib=memory_mib,
            query_rows=query_rows,
        )

    parts = [Stage(examples, checkpoint, partial(stage, examples)) for examples, checkpoint in stages]
    return Network(member, times, load, blend, parts)


def _weighted(value: Tensor, weight: float) -> Tensor:
    return weight * value if value.is_floating_point() else value

"""From stored features and retrainings to what a method may be handed (proponent.methods.inputs), one member at a time."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from proponent.features.featurize import network, read_gradients, read_outputs, read_representations
from proponent.features.history import Moments
from proponent.settings.split import Arrays
from proponent.steps.inputs import load_model
from proponent.steps.job import Job
from proponent.steps.retrainings import read_permutations, read_retrainings
from proponent.store.files import read_json
from proponent.store.tensors import load_tensors, open_tensors


def member_inputs(job: Job, data: Arrays, rows: slice, members: int) -> Iterator[dict[str, Any]]:
    """Yield, for each of the first ``members`` of the ensemble, the arguments that a method needs by name.

    Stored tensors are read when a method asks for them, and only while its member is the current one.

    Args:
        job: of the method.
        data: all training examples and queries.
        rows: the queries that are wanted.
        members: how many, at most those that the method uses.
    """
    needs = job.spec["needs"]
    shared = shared_inputs(job, needs, data, rows)
    own = [need for need in needs if need not in shared]
    if not own:
        yield shared
        return
    for member in range(members):
        with ExitStack() as opened:
            yield shared | {need: _feature(job, need, member, data, rows, opened) for need in own}


def shared_inputs(job: Job, needs: Sequence[str], data: Arrays, rows: slice) -> dict[str, Any]:
    """Return those of the arguments that are the same for all members: data and retrainings."""
    shared: dict[str, Any] = {}
    if "data" in needs:
        shared["data"] = data._replace(x_query=data.x_query[rows], y_query=data.y_query[rows])
    if "retrainings" in needs:
        shared["retrainings"] = read_retrainings(job, "fit", rows)
    if "permutations" in needs:
        shared["permutations"] = read_permutations(job, "permutations", rows)
    return shared


def _feature(job: Job, need: str, member: int, data: Arrays, rows: slice, opened: ExitStack) -> Any:
    shard = member // job.spec["members_per_job"]
    if need in ("network", "replay"):
        folder = job.read(job.input(f"/ensemble/shard-{shard:03d}.json")).parent / f"member-{member:03d}"
        if need == "network":
            return _network(job, member, folder, data, rows)
        return importlib.import_module("proponent.steps.replay").replay_of(job, folder, member, data, rows)
    path = job.read(job.input(f"/features/{need}-{shard:03d}.safetensors"))
    get, _, metadata = opened.enter_context(open_tensors(path))
    name = f"member-{member:03d}"
    described = json.loads(metadata["members"])[name]
    moments = Moments(**described["training"])

    def own(tensor: str) -> Tensor:
        return get(f"{name}/{tensor}")

    if need == "outputs":
        return read_outputs(own, member, moments, rows)
    read: Callable[..., Any] = read_gradients if need == "gradients" else read_representations
    return read(described["features"], own, data, member, moments, rows)


def _network(job: Job, member: int, folder: Path, data: Arrays, rows: slice) -> Any:
    training = read_json(folder / "training.json")
    module, task = load_model(job)
    device = torch.device(job.spec["device"])
    return network(
        module.to(device),
        lambda index: load_checkpoint(folder, training["steps"], index),
        task,
        Arrays(*(tensor.to(device) for tensor in data)),
        member,
        moments_of(training, job.spec["momentum"]),
        weight_decay=job.spec["weight_decay"],
        memory_mib=job.spec["memory_mib"],
        query_rows=rows,
    )


def load_checkpoint(folder: Path, steps: list[int], index: int) -> dict[str, Tensor]:
    """Return the state dict of a member's checkpoint; the last of ``steps`` is the final model."""
    final = index == len(steps) - 1
    return load_tensors(folder / ("final.safetensors" if final else f"step-{steps[index]:06d}.safetensors"))


def moments_of(training: dict[str, Any], momentum: float) -> Moments:
    """Return steps, learning rates and durations (sum of learning rates / (1 - momentum)) at the saved checkpoints."""
    durations = [total / (1 - momentum) for total in training["learning_rate_sums"]]
    return Moments(training["steps"], training["learning_rates"], durations)

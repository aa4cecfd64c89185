"""Needs that one member provides, from stored features and checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from torch import Tensor

from proponent.config.feature_shards import feature_shard
from proponent.config.specifications.method_specs import AttributeSpec
from proponent.config.specifications.step_inputs import AttributeInputs
from proponent.features.member_features import read_gradients, read_outputs, read_representations
from proponent.features.member_network import NetworkReader
from proponent.features.views import CheckpointTimes
from proponent.settings.factories import build_model
from proponent.settings.split import Arrays
from proponent.settings.tasks import get_task
from proponent.steps.io.job import Job
from proponent.steps.io.stored_checkpoints import checkpoint_times, load_checkpoint, member_folder
from proponent.store.files import read_json
from proponent.store.tensors import open_tensors


def read(
    job: Job[AttributeSpec, AttributeInputs],
    need: str,
    member: int,
    data: Arrays,
    rows: slice,
    opened: ExitStack,
) -> Any:
    """Return one member's ``gradients``, ``outputs``, ``representations`` or ``network``.

    Args:
        job: job of the method.
        need: name of the need.
        member: index of the member.
        data: all training examples and queries.
        rows: queries that are wanted.
        opened: files that stay open while the member is the current one.
    """
    if need == "network":
        return _network(job, member, data, rows)
    shard = feature_shard(need, member, job.spec.members_per_job)
    get, _, metadata = opened.enter_context(open_tensors(job.read(job.inputs.features[need][shard])))
    name = f"member-{member:03d}"
    described = json.loads(metadata["members"])[name]
    times = CheckpointTimes(**described["training"])

    def own(tensor: str) -> Tensor:
        return get(f"{name}/{tensor}")

    if need == "outputs":
        return read_outputs(own, member, times, rows)
    reader: Callable[..., Any] = read_gradients if need == "gradients" else read_representations
    return reader(described["features"], own, data, member, times, rows)


def _network(job: Job[AttributeSpec, AttributeInputs], member: int, data: Arrays, rows: slice) -> Any:
    spec = job.spec.network
    if spec is None:
        raise ValueError("the specification of a method that needs the network names no model")
    folder = member_folder(job, member)
    training = read_json(folder / "training.json")
    module = build_model(spec.model, 0, spec.precision)
    task, data = data.weighted(get_task(job.spec.task, job.spec.target))
    reader = NetworkReader(
        module.to(job.device),
        lambda index: load_checkpoint(folder, training["steps"], index),
        task,
        data.to(job.device),
        member,
        checkpoint_times(training, spec.momentum),
        weight_decay=spec.weight_decay,
        memory_mib=job.spec.memory_mib,
        query_rows=rows,
    )
    return reader.network(
        [
            (slice(*stage["examples"]), training["steps"].index(stage["stop"]))
            for stage in training.get("stages", [])
        ]
    )

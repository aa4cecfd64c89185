"""From stored features and checkpoints to what a method is handed of one member."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from proponent.features.member_features import network, read_gradients, read_outputs, read_representations
from proponent.features.views import Moments
from proponent.settings.split import Arrays
from proponent.steps.io.job import Job
from proponent.steps.io.setting_inputs import load_model
from proponent.steps.io.stored_checkpoints import load_checkpoint, moments_of
from proponent.store.files import read_json
from proponent.store.tensors import open_tensors


def feature(job: Job, need: str, member: int, data: Arrays, rows: slice, opened: ExitStack) -> Any:
    """Return one member's ``gradients``, ``outputs``, ``representations``, ``network`` or ``replay``.

    Args:
        job: of the method.
        need: which.
        member: its number.
        data: all training examples and queries.
        rows: the queries that are wanted.
        opened: files that stay open while the member is the current one.
    """
    shard = member // job.spec["members_per_job"]
    if need in ("network", "replay"):
        folder = job.read(job.input(f"/ensemble/shard-{shard:03d}.json")).parent / f"member-{member:03d}"
        if need == "network":
            return _network(job, member, folder, data, rows)
        return importlib.import_module("proponent.steps.io.member_replay").replay_of(
            job, folder, member, data, rows
        )
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
        stages=[
            (slice(*stage["examples"]), training["steps"].index(stage["stop"]))
            for stage in training.get("stages", [])
        ],
    )

"""``proponent shuffle-labels``: the data of a setting with the labels of the training examples in another order."""

from __future__ import annotations

from pathlib import PurePosixPath

import torch

from proponent.config.specifications.method_specs import ShuffleLabelsSpec
from proponent.config.specifications.step_inputs import DataInputs
from proponent.rows import named_tensors
from proponent.seeds import derive_seed
from proponent.steps.io.job import Job
from proponent.steps.io.setting_inputs import load_data


def run(job: Job[ShuffleLabelsSpec, DataInputs]) -> None:
    """Write the training tensors with the labels of a random permutation of the examples, and the queries as they are."""
    data = load_data(job)
    generator = torch.Generator().manual_seed(derive_seed(job.spec.seed, "shuffle", "labels"))
    order = torch.randperm(len(data.y_train), generator=generator)
    weight = {} if data.weight_train is None else {"weight": data.weight_train}
    every = slice(None)  # rows that are stored in several files are read into one tensor
    inputs = {name: value[every] for name, value in named_tensors(data.x_train).items()}
    job.write_tensors(job.artefact, {**inputs, "y": data.y_train[order], **weight})
    queries = PurePosixPath(job.artefact).with_name("query.safetensors")
    job.write_tensors(str(queries), {**named_tensors(data.x_query), "y": data.y_query})

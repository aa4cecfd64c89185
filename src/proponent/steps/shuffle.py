"""``proponent shuffle``: members of the ensemble whose weights are shuffled, which have learned nothing."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from proponent.config.specifications.method_specs import ShuffleSpec
from proponent.config.specifications.step_inputs import ShuffleInputs
from proponent.seeds import derive_seed
from proponent.steps.io.job import Job
from proponent.store.files import read_json
from proponent.store.tensors import load_tensors


def run(job: Job[ShuffleSpec, ShuffleInputs]) -> None:
    """Write every checkpoint of some members with shuffled weights, in the files of an ensemble."""
    ensemble = job.read(job.inputs.ensemble).parent
    folder = PurePosixPath(job.artefact).parent
    for member in job.spec.members:
        name = f"member-{member:03d}"
        for path in sorted((ensemble / name).glob("*.safetensors")):
            tensors = _shuffled(path, derive_seed(job.spec.seed, "shuffle", member))
            job.write_tensors(f"{folder}/{name}/{path.name}", tensors)
        job.write_json(f"{folder}/{name}/training.json", read_json(ensemble / name / "training.json"))
    job.write_json(job.artefact, {"members": list(job.spec.members)})


def _shuffled(path: Path, seed: int) -> dict[str, Tensor]:
    """Return the tensors of a file, each with its values in another order, which is the same for all files of a member."""
    return {
        name: shuffled_tensor(value, derive_seed(seed, name)) for name, value in load_tensors(path).items()
    }


def shuffled_tensor(value: Tensor, seed: int) -> Tensor:
    """Return a tensor with its values in random order; one of integers, such as a number of batches, as it is."""
    if not value.is_floating_point():
        return value
    order = torch.randperm(value.numel(), generator=torch.Generator().manual_seed(seed))
    return value.flatten()[order].view_as(value)

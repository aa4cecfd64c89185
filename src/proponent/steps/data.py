"""``proponent data``: load a setting's dataset, corrupt labels where asked, store it as tensors."""

from __future__ import annotations

import sys
from pathlib import PurePosixPath

from torch import Tensor

from proponent.chunking import chunks
from proponent.config.setting_schema import Inputs
from proponent.config.specifications.step_inputs import NoInputs
from proponent.config.specifications.training_specs import DataSpec
from proponent.errors import UserError
from proponent.rows import named_tensors
from proponent.seeds import derive_seed
from proponent.settings.cards import read_card
from proponent.settings.label_noise import flip_labels
from proponent.settings.large_arrays import large_arrays_in
from proponent.settings.loaded_dataset import load_dataset
from proponent.settings.planted_truth import given_truth, plant
from proponent.settings.split import Arrays, check_tokens
from proponent.settings.tasks import get_task
from proponent.steps.io.job import Job
from proponent.store.sharded_arrays import COUNT, rows_per_file, shard_path


def run(job: Job[DataSpec, NoInputs]) -> None:
    """Write train and query tensors, ids, a description of the classes, and the mask of corrupted labels if any."""
    spec = job.spec
    folder = PurePosixPath(job.artefact).parent
    with large_arrays_in(job.root / folder):
        split, arrays = load_dataset(
            spec.dataset,
            derive_seed(spec.seed, "dataset"),
            get_task(spec.task),
            spec.queries,
            spec.setting,
            spec.precision,
        )
    if split.card is not None:
        read_card(split.card)
    if spec.inputs is Inputs.tokens:
        check_tokens(arrays, f"setting {spec.setting}")
    if arrays.weight_train is not None:
        text = f"note: setting {spec.setting}: losses of training examples are multiplied by their column 'weight'"
        print(f"{text}; give it another name if it is an input", file=sys.stderr)
    class_names = split.class_names
    if spec.planted is not None and spec.planted.given:
        counts = len(arrays.y_train), len(arrays.y_query)
        truth = given_truth(split.truth, spec.planted.given, *counts, f"setting {spec.setting}")
        job.write_tensors(str(folder / "planted.safetensors"), truth)
    elif spec.planted is not None:
        planted_seed = derive_seed(spec.seed, "planted")
        where = f"setting {spec.setting}"
        with large_arrays_in(job.root / folder):
            arrays, class_names, truth = plant(
                arrays, class_names, split.image_shape, spec.planted, planted_seed, where
            )
        job.write_tensors(str(folder / "planted.safetensors"), truth)
    y_train = arrays.y_train
    if spec.label_noise is not None:
        y_train, mask = flip_labels(y_train, spec.label_noise.fraction, derive_seed(spec.seed, "label-noise"))
        job.write_tensors(str(folder / "noisy_labels.safetensors"), {"noisy_labels": mask})
    n_train, n_query = len(arrays.y_train), len(arrays.y_query)
    if spec.stages and sum(spec.stages) != n_train:
        raise UserError(
            f"configs/settings/{spec.setting}.yaml: recipe.stages have {' + '.join(map(str, spec.stages))} = "
            f"{sum(spec.stages)} examples, but the training set has {n_train}"
        )
    for truth_file, change in (("planted", spec.planted), ("noisy_labels", spec.label_noise)):
        if change is None:  # of data that had a change
            (job.root / folder / f"{truth_file}.safetensors").unlink(missing_ok=True)
    described = {
        "class_names": class_names,
        "image_shape": split.image_shape,
        "card": split.card,
        "n_train": n_train,
        "n_tune": spec.queries.tune,
        "n_test": spec.queries.test,
    }
    if split.token_names is not None:
        job.write_json(str(folder / "token_names.json"), [str(name) for name in split.token_names])
    else:  # of data that had names
        (job.root / folder / "token_names.json").unlink(missing_ok=True)
    job.write_json(str(folder / "train_ids.json"), list(range(n_train)))
    job.write_json(str(folder / "query_ids.json"), list(range(n_query)))
    job.write_json(str(folder / "description.json"), described)
    job.write_tensors(
        str(folder / "query.safetensors"), {**named_tensors(arrays.x_query), "y": arrays.y_query}
    )
    _write_train(job, arrays, y_train)
    job.details = described


def _write_train(job: Job[DataSpec, NoInputs], arrays: Arrays, y: Tensor) -> None:
    """Write the training examples, with the inputs in files of their own if one does not hold them."""
    labels = {"y": y} | ({} if arrays.weight_train is None else {"weight": arrays.weight_train})
    inputs = named_tensors(arrays.x_train)
    bytes_of_row = sum(value[:1].numel() * value.element_size() for value in inputs.values())
    step = rows_per_file(bytes_of_row, len(y))
    first = job.root / job.artefact
    stale = set(first.parent.glob(f"{first.stem}-*{first.suffix}"))
    if step == len(y):
        job.write_tensors(job.artefact, {**inputs, **labels})
    else:
        shards = list(enumerate(chunks(len(y), step), 1))
        for shard, rows in shards:
            path = shard_path(first, shard)
            stale.discard(path)
            part = {name: value[rows] for name, value in inputs.items()}
            job.write_tensors(path.relative_to(job.root).as_posix(), part)
        job.write_tensors(job.artefact, labels, {COUNT: str(len(shards))})
    for path in stale:  # of data that had more files
        path.unlink()

"""``proponent check``: try a setting's model, data and methods in seconds, before anything is trained."""

from __future__ import annotations

import sys
from dataclasses import asdict
from functools import partial

import torch

from proponent.config.schema import PretrainedConfig
from proponent.config.specifications.method_uses import TRIED
from proponent.config.specifications.step_inputs import DataInputs
from proponent.config.specifications.step_specs import CheckSpec
from proponent.seeds import derive_seed
from proponent.self_check.check_setting import check_setting
from proponent.self_check.other_process import in_fork
from proponent.self_check.subject import Subject
from proponent.self_check.training_memory import refuse_training_memory
from proponent.settings.batch_augmentation import build_augment
from proponent.settings.factories import build_model
from proponent.settings.loaded_dataset import dataset_digests, digests_of, refuse_other_data
from proponent.settings.split import Arrays
from proponent.settings.tasks import get_task
from proponent.steps.io.job import Job
from proponent.steps.io.setting_inputs import load_data


def run(job: Job[CheckSpec, DataInputs]) -> None:
    """Write ``check.json``: needs of methods and their operations that this model does not allow, each with its reason."""
    spec = job.spec
    torch.set_num_threads(job.threads)
    data = load_data(job)
    _refuse_other_data(spec, data)
    subject = Subject(
        setting=spec.setting,
        build=partial(build_model, spec.model, precision=spec.recipe.precision),
        data=data,
        task=get_task(spec.task, spec.target),
        recipe=spec.recipe,
        augment=build_augment(spec.augment),
        designs={
            draw.name: draw.config(count=spec.left_out_examples.get(draw.name, 1)) for draw in spec.designs
        },
        seed=spec.seed,
        device=job.device,
    )
    unusable = check_setting(subject, TRIED)
    if job.device == "cpu":  # on a GPU, jobs train as many models at a time as it holds
        jobs = [(kind.what, kind.models, kind.checkpoints) for kind in spec.jobs]
        refuse_training_memory(subject, jobs, spec.lockstep, spec.memory_mib)
    for use, reason in unusable.items():
        print(f"methods that use '{use}' are left out: {reason}", file=sys.stderr)
    # `proponent plan` needs the shapes before there is a trained model.
    shapes = [list(value.shape) for value in subject.build(spec.seed).parameters()]
    job.write_json(job.artefact, {"setting": spec.setting, "unusable": unusable, "shapes": shapes})
    job.details["unusable"] = unusable
    if spec.pretrained is not None:
        if spec.pretrained.licence == PretrainedConfig.licence:
            text = f"note: the licence of the pretrained weights '{spec.pretrained.name}' is not stated"
            print(
                f"{text}; add model.pretrained.licence to configs/settings/{spec.setting}.yaml",
                file=sys.stderr,
            )
        job.details["pretrained"] = {**asdict(spec.pretrained), "digest": job.files[spec.pretrained.file]}


def _refuse_other_data(spec: CheckSpec, data: Arrays) -> None:
    """Refuse a dataset factory that gives other data in another process, for example because a module keeps them."""
    seed, task = derive_seed(spec.seed, "dataset"), get_task(spec.task)
    precision = spec.recipe.precision
    found = in_fork(partial(dataset_digests, spec.dataset, seed, task, spec.queries, spec.setting, precision))
    if found is not None:
        stored = digests_of(data)
        if spec.has_label_noise:
            del stored["train y"]
        refuse_other_data(spec.dataset, stored, found, spec.setting)

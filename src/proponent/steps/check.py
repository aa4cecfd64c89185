"""``proponent check``: try a setting's model, data and methods in seconds, before anything is trained."""

from __future__ import annotations

import sys
from dataclasses import asdict
from functools import partial

import torch
from torch import Tensor

from proponent.config.model_schema import PretrainedConfig
from proponent.config.setting_schema import Inputs
from proponent.config.specifications.method_uses import TRIED
from proponent.config.specifications.step_inputs import CheckInputs
from proponent.config.specifications.training_specs import CheckSpec
from proponent.errors import UserError
from proponent.features.storage_choice import StorageChoice
from proponent.seeds import derive_seed
from proponent.self_check.check_setting import check_setting
from proponent.self_check.gradient_storage import gradient_storage, projection_notice
from proponent.self_check.other_process import in_fork
from proponent.self_check.problem_sizes import Sizes, sizes_of
from proponent.self_check.subject import Subject
from proponent.self_check.training_memory import refuse_training_memory
from proponent.settings.batch_augmentation import build_augment
from proponent.settings.factories import build_model
from proponent.settings.large_arrays import large_arrays_in
from proponent.settings.loaded_dataset import dataset_digests, digests_of, refuse_other_data
from proponent.settings.split import Arrays
from proponent.settings.tasks import get_task
from proponent.steps.io.job import Job
from proponent.steps.io.left_out_marks import methods_left_out
from proponent.steps.io.setting_inputs import load_data
from proponent.steps.io.stored_texts import why_no_texts
from proponent.steps.io.training_script import refuse_missing_program
from proponent.store.tensors import load_tensors


def run(job: Job[CheckSpec, CheckInputs]) -> None:
    """Write ``check.json``: needs of methods and their operations that this model does not allow, each with its reason."""
    spec = job.spec
    torch.set_num_threads(job.threads)
    data = load_data(job)
    with large_arrays_in((job.root / job.artefact).parent):
        _refuse_other_data(spec, data)
    if spec.program:
        refuse_missing_program(spec.program, job.root, spec.setting)
    no_texts = spec.inputs is Inputs.tokens and why_no_texts(job.read(job.inputs.data).parent)
    without_texts = {"texts": no_texts} if no_texts else {}
    if spec.model is None:
        unusable = dict.fromkeys(TRIED, "uses the model, and the setting has none") | without_texts
        content = {"setting": spec.setting, "unusable": unusable, "sizes": None, "gradients": None}
        job.write_json(job.artefact, content)
        job.details |= {"unusable": unusable, "methods_left_out": {}}
        return
    task, weighted = data.weighted(get_task(spec.task, spec.target))
    subject = Subject(
        setting=spec.setting,
        build=partial(build_model, spec.model, precision=spec.precision),
        data=weighted,
        task=task,
        recipe=spec.recipe,
        augment=build_augment(spec.augment),
        designs={
            draw.name: draw.config(count=spec.left_out_examples.get(draw.name, 1)) for draw in spec.designs
        },
        seed=spec.seed,
        device=job.device,
        weights=_given_weights(job),
    )
    unusable = check_setting(subject, TRIED) | without_texts
    if job.device == "cpu":  # on a GPU, jobs train as many models at a time as it holds
        jobs = [(kind.what, kind.models, kind.checkpoints) for kind in spec.jobs]
        refuse_training_memory(subject, jobs, spec.lockstep, spec.memory_mib)
    sizes, stored = sizes_of(subject), None
    try:
        stored = _stored_gradients(subject, spec, sizes)
    except UserError as error:
        unusable |= {use: str(error) for use in ("gradients", "gradients.last")}
    for use, reason in unusable.items():
        print(f"methods that use '{use}' are left out: {reason}", file=sys.stderr)
    content = {"setting": spec.setting, "unusable": unusable, "sizes": asdict(sizes)}
    job.write_json(job.artefact, content | {"gradients": asdict(stored) if stored else None})
    job.details["unusable"] = unusable
    if spec.pretrained is not None:
        if spec.pretrained.licence == PretrainedConfig.licence:
            text = f"note: the licence of the pretrained weights '{spec.pretrained.name}' is not stated"
            print(
                f"{text}; add model.pretrained.licence to configs/settings/{spec.setting}.yaml",
                file=sys.stderr,
            )
        job.details["pretrained"] = {**asdict(spec.pretrained), "digest": job.files[spec.pretrained.file]}
    job.details["methods_left_out"] = left_out = methods_left_out(job.root, spec.setting, unusable)
    for method, reason in left_out.items():
        print(f"method {method} will be left out: {reason}", file=sys.stderr)


def _given_weights(job: Job[CheckSpec, CheckInputs]) -> dict[str, Tensor]:
    """Return the state dict of the first member if the members are trained already; nothing otherwise."""
    if not job.inputs.ensemble:
        return {}
    return load_tensors(job.read(job.inputs.ensemble[0]).parent / "member-000/final.safetensors")


def _stored_gradients(subject: Subject, spec: CheckSpec, sizes: Sizes) -> StorageChoice | None:
    """Return the form in which gradients will be stored, and say so where it is not the exact one."""
    ensemble = spec.jobs[0]
    stored = gradient_storage(
        subject,
        sizes,
        members=ensemble.models,
        checkpoints=ensemble.checkpoints,
        memory_mib=spec.memory_mib,
    )
    notice = projection_notice(stored, ensemble.models) if stored else None
    if notice:
        print(f"setting {spec.setting}: {notice}", file=sys.stderr)
    return stored


def _refuse_other_data(spec: CheckSpec, data: Arrays) -> None:
    """Refuse a dataset factory that gives other data in another process, for example because a module keeps them."""
    seed, task = derive_seed(spec.seed, "dataset"), get_task(spec.task)
    found = in_fork(
        partial(dataset_digests, spec.dataset, seed, task, spec.queries, spec.setting, spec.precision)
    )
    if found is not None:
        stored = {name: of for name, of in digests_of(data).items() if _part(name) not in spec.changed_data}
        refuse_other_data(spec.dataset, stored, found, spec.setting)


def _part(name: str) -> str:
    """Return the part of the data, such as ``train labels``, that a digest of a tensor belongs to."""
    part, _, tensor = name.partition(" ")
    if not tensor:  # weights of the training examples
        return "train inputs"
    return f"{part} {'labels' if tensor == 'y' else 'inputs'}"

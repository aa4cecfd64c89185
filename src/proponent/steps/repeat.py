"""``proponent repeat``: the scores of a method for other models, with the hyper-parameters of its own scores."""

from __future__ import annotations

import importlib
from typing import Any

from proponent.attribution.scoring import Scorer, accepted
from proponent.attribution.stored_values import as_array, check_values, clear_unresolved_rows
from proponent.config.benchmark_schema import Combine
from proponent.config.specifications.method_specs import RepeatSpec
from proponent.config.specifications.step_inputs import RepeatInputs
from proponent.errors import UserError
from proponent.notes import noted
from proponent.steps.io.job import Job
from proponent.steps.io.left_out_marks import write_mark
from proponent.steps.io.method_inputs import member_inputs, shared_inputs
from proponent.store.manifest import read_manifest


def run(job: Job[RepeatSpec, RepeatInputs]) -> None:
    """Write ``scores`` (n_query, n_train) float32, or the mark that the method is left out."""
    spec = job.spec
    job.read(job.inputs.original)
    manifest = read_manifest(job.root / job.inputs.original)
    if manifest is None:
        raise UserError(f"{job.inputs.original}: has no manifest; delete it and run snakemake again")
    if "left_out" in manifest.details:
        write_mark(job, manifest.details["left_out"])
        return
    source, module = f"configs/methods/{spec.method}.yaml", importlib.import_module(spec.module)
    scorer = Scorer(
        module,
        attribute=getattr(module, spec.function),
        source=source,
        checkpoints=spec.checkpoints,
        normalised=spec.combine is Combine.normalised,
        groups=spec.groups,
    )
    data, every = _load_data(job), slice(None)
    to_finish = shared_inputs(job, spec.finish_needs, data, every) if spec.finish_needs else None
    members = member_inputs(job, data, every, spec.members, spec.first)
    with noted():  # notes are about the method's own scores
        (outcome,) = scorer.score([manifest.details["hyper_parameters"]], members, to_finish)
        scores = as_array(accepted(outcome)["scores"])
        check_values(scores, (len(data.y_query), len(data.y_train)), "scores", source)
    job.write_arrays(job.artefact, {"scores": clear_unresolved_rows(scores)})


def _load_data(job: Job[RepeatSpec, RepeatInputs]) -> Any:
    if job.spec.arrays == "numpy":
        return importlib.import_module("proponent.steps.io.stored_arrays").load_numpy_data(job)
    importlib.import_module("torch").set_num_threads(job.threads)
    return importlib.import_module("proponent.steps.io.setting_inputs").load_data(job)

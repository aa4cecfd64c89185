"""``proponent retrain-masks``: retrain a shard of derived masks in lockstep and store what the models say of the queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from proponent.config.schema import FactoryConfig
from proponent.config.specifications.step_inputs import DataInputs, RetrainMasksInputs
from proponent.config.specifications.step_specs import RetrainMasksSpec, RetrainSpec
from proponent.settings.batch_augmentation import build_augment
from proponent.settings.tasks import Task, get_task
from proponent.steps.io.job import Job
from proponent.steps.io.lockstep_size import lockstep_of
from proponent.steps.io.setting_inputs import checked_model, load_data
from proponent.store.tensors import load_tensors
from proponent.training.designs import Run
from proponent.training.lockstep import in_lockstep, train
from proponent.training.masked_runs import masked_run
from proponent.training.predict import MODELS, targets


def run(job: Job[RetrainMasksSpec, RetrainMasksInputs]) -> None:
    """Write ``targets`` (n_runs, n_query) float32, ``correct`` (n_runs, n_query) and ``diverged`` (n_runs,) bool.

    ``correct`` says whether the model predicts the query's label; it is missing where queries do not have one class each.
    Retraining ``row * seeds + repeat`` is that of the mask in this row. Fewer masks than were planned leave the last shards
    empty. A run that diverged keeps its place, with NaN targets. Finished groups are saved, so that a shard which is killed
    continues where it was.
    """
    spec = job.spec
    data = load_data(job)
    masks = load_tensors(job.read(job.inputs.masks))["masks"]
    runs = _runs(spec, masks)
    n_query = len(data.y_query)
    has_classes = spec.task.lacks_classes is None
    result = job.read_partial() or {
        "targets": torch.full((len(runs), n_query), torch.nan),
        "correct": torch.zeros(len(runs), n_query, dtype=torch.bool),
        "diverged": torch.zeros(len(runs), dtype=torch.bool),
        "done": torch.zeros(len(runs), dtype=torch.bool),
    }
    if runs:
        recipe, task = spec.recipe, get_task(spec.task, spec.target)
        build = checked_model(spec.model, task, data, spec.setting, recipe.precision)
        augment = build_augment(spec.augment)
        task, data = data.weighted(task)
        lead = _lead(spec) if has_classes else None
        # Not in the signature of lockstep_of, whose source is part of the keys of all trainings.
        like = cast("Job[RetrainSpec, DataInputs]", job)
        lockstep = lockstep_of(like, build, data, task, recipe, runs)
        for group in in_lockstep(recipe, runs, len(data.y_train), lockstep):
            # In the order of the runs: the models that are evaluated together can change each other's last bits.
            rows = torch.tensor(sorted(group))
            if result["done"][rows].all():
                continue
            trained = train(
                build,
                data.x_train,
                data.y_train,
                task,
                recipe,
                [runs[index] for index in rows.tolist()],
                augment=augment,
                lockstep=lockstep,
                device=job.device,
            )
            models, together = (trained.template, trained.state), min(lockstep, MODELS)
            found = targets(*models, data.x_query, data.y_query, task, models=together)
            result["targets"][rows] = found.float()
            if lead is not None:
                result["correct"][rows] = (
                    targets(*models, data.x_query, data.y_query, lead, models=together) > 0
                )
            result["diverged"][rows[trained.diverged]] = True
            job.details |= {"stacked": trained.stacked, "models_at_a_time": trained.together}
            result["done"][rows] = True
            if not result["done"].all():
                job.write_partial(result)
    diverged = result["diverged"] | ~result["targets"].isfinite().all(1)
    result["targets"][diverged] = torch.nan
    written = {"targets": result["targets"], "diverged": diverged}
    if has_classes:
        written["correct"] = result["correct"]
    job.write_tensors(job.artefact, written)
    job.details["retrainings"] = len(runs)
    job.details["diverged"] = _named(diverged, runs, spec)


def _runs(spec: RetrainMasksSpec, masks: Tensor) -> Sequence[Run]:
    """Return the retrainings of the shard for which there is a mask."""
    rule, (first, stop) = spec.seeds, spec.runs
    found = []
    for index in range(first, min(stop, len(masks) * rule.seeds)):
        row, repeat = divmod(index, rule.seeds)
        own = -1 if rule.paired else row
        found.append(masked_run(masks[row], own, repeat, spec.seed, rule.metric, rule.by_weight))
    return found


def _lead(spec: RetrainMasksSpec) -> Task:
    """Return a task whose target is positive exactly where the label is predicted, whatever the setting attributes."""
    if spec.task.name == "classification":
        return get_task(spec.task, FactoryConfig("proponent.settings.targets:lead"))
    return get_task(spec.task)  # the margin of binary classification


def _named(diverged: Tensor, runs: Sequence[Run], spec: RetrainMasksSpec) -> list[dict[str, int]]:
    first = spec.runs[0]
    return [
        {
            "row": (first + index) // spec.seeds.seeds,
            "repeat": (first + index) % spec.seeds.seeds,
            "init_seed": runs[index].init_seed,
            "order_seed": runs[index].order_seed,
        }
        for index in diverged.nonzero().flatten().tolist()
    ]

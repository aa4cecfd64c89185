"""``proponent retrain``: retrain a shard of a design's subsets in lockstep and store the queries' targets."""

from __future__ import annotations

import torch

from proponent.config.specifications.step_inputs import DataInputs
from proponent.config.specifications.training_specs import RetrainSpec
from proponent.settings.batch_augmentation import build_augment
from proponent.settings.tasks import get_task
from proponent.steps.io.job import Job
from proponent.steps.io.lockstep_size import lockstep_of
from proponent.steps.io.setting_inputs import checked_model, load_data
from proponent.training.designs import run_at
from proponent.training.lockstep import in_lockstep, train
from proponent.training.predict import MODELS, targets


def run(job: Job[RetrainSpec, DataInputs]) -> None:
    """Write ``masks`` (n_runs, n_train) bool, ``targets`` (n_runs, n_query) float32 and ``diverged`` (n_runs,) bool.

    A run that diverged keeps its place, with NaN targets; the manifest names its subset, repeat and seeds. Finished runs are
    saved after every group that is trained in lockstep, so that a shard which is killed continues where it was.
    """
    spec = job.spec
    data = load_data(job)
    recipe = spec.recipe
    task = get_task(spec.task, spec.target)
    build = checked_model(spec.model, task, data, spec.setting, recipe.precision)
    augment = build_augment(spec.augment)
    task, data = data.weighted(task)
    first, stop = spec.runs
    design = spec.design.reaching(stop)
    runs = [
        run_at(design, spec.design.name, len(data.y_train), spec.seed, index) for index in range(first, stop)
    ]
    lockstep = lockstep_of(job, build, data, task, recipe, runs)
    # Groups that an earlier attempt finished are reused; the group that it was in the middle of starts again.
    result = job.read_partial() or {
        "targets": torch.full((len(runs), len(data.y_query)), torch.nan),
        "diverged": torch.zeros(len(runs), dtype=torch.bool),
        "done": torch.zeros(len(runs), dtype=torch.bool),
    }
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
        result["targets"][rows] = targets(
            trained.template, trained.state, data.x_query, data.y_query, task, models=min(lockstep, MODELS)
        ).float()
        result["diverged"][rows[trained.diverged]] = True
        job.details |= {"stacked": trained.stacked, "models_at_a_time": trained.together}
        result["done"][rows] = True
        if not result["done"].all():
            job.write_partial(result)
    diverged = result["diverged"] | ~result["targets"].isfinite().all(1)
    result["targets"][diverged] = torch.nan
    everything = torch.ones(len(data.y_train), dtype=torch.bool)
    masks = torch.stack([everything if run.mask is None else run.mask for run in runs])
    job.write_tensors(job.artefact, {"masks": masks, "targets": result["targets"], "diverged": diverged})
    job.details["diverged"] = [
        {
            "row": (first + index) // design.seeds,
            "repeat": (first + index) % design.seeds,
            "init_seed": runs[index].init_seed,
            "order_seed": runs[index].order_seed,
        }
        for index in diverged.nonzero().flatten().tolist()
    ]

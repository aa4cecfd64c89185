"""``proponent retrain``: retrain a shard of a design's subsets in lockstep and store what the queries' targets became."""

from __future__ import annotations

from typing import Any

import torch

from proponent.config.load import structured
from proponent.config.schema import DesignConfig
from proponent.steps.io.job import Job
from proponent.steps.io.lockstep_size import lockstep_of
from proponent.steps.io.setting_inputs import load_data, training_of
from proponent.training.designs import run_at
from proponent.training.lockstep import in_lockstep, train
from proponent.training.predict import MODELS, targets


def run(job: Job) -> None:
    """Write ``masks`` (n_runs, n_train) bool, ``targets`` (n_runs, n_query) float32 and ``diverged`` (n_runs,) bool.

    A run that diverged keeps its place, with NaN targets; the manifest names its subset, repeat and seeds. What is done
    is kept after every group that is trained in lockstep, so that a shard which is killed goes on where it was.
    """
    spec = job.spec
    data = load_data(job)
    build, task, recipe = training_of(job, data)
    first, stop = spec["runs"]
    design = read_design(spec["design"], rows=-(-stop // spec["design"]["seeds"]))
    name = spec["design"]["name"]
    runs = [run_at(design, name, len(data.x_train), spec["seed"], index) for index in range(first, stop)]
    lockstep = lockstep_of(job, build, data, task, recipe, runs)
    # What an earlier attempt finished is taken over; a group that it was in the middle of begins anew.
    result = job.read_partial() or {
        "targets": torch.full((len(runs), len(data.x_query)), torch.nan),
        "diverged": torch.zeros(len(runs), dtype=torch.bool),
        "done": torch.zeros(len(runs), dtype=torch.bool),
    }
    for group in in_lockstep(recipe, runs, len(data.x_train), lockstep):
        # In the order of the runs: with whom a model is evaluated can change its last bits.
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
            lockstep=lockstep,
            device=spec["device"],
        )
        result["targets"][rows] = targets(
            trained.template, trained.state, data.x_query, data.y_query, task, models=min(lockstep, MODELS)
        ).float()
        result["diverged"][rows[trained.diverged]] = True
        result["done"][rows] = True
        if not result["done"].all():
            job.write_partial(result)
    diverged = result["diverged"] | ~result["targets"].isfinite().all(1)
    result["targets"][diverged] = torch.nan
    everything = torch.ones(len(data.x_train), dtype=torch.bool)
    masks = torch.stack([everything if run.mask is None else run.mask for run in runs])
    job.write_tensors(job.artefact, {"masks": masks, "targets": result["targets"], "diverged": diverged})
    job.details |= {
        "diverged": [
            {
                "row": (first + index) // design.seeds,
                "repeat": (first + index) % design.seeds,
                "init_seed": runs[index].init_seed,
                "order_seed": runs[index].order_seed,
            }
            for index in diverged.nonzero().flatten().tolist()
        ],
    }


def read_design(content: dict[str, Any], rows: int) -> DesignConfig:
    """Return the design of a spec, whose count is left to the number of rows that a shard reaches."""
    fields = {key: value for key, value in content.items() if key != "name"}
    return structured(DesignConfig, {**fields, "count": max(rows, 1)}, f"design {content['name']}")

"""``proponent retrain-script``: retrain a shard of a design's subsets with a training script of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from proponent.config.specifications.step_inputs import DataInputs
from proponent.config.specifications.training_specs import RetrainScriptSpec
from proponent.errors import UserError
from proponent.progress import progress
from proponent.settings.split import Arrays
from proponent.settings.tasks import get_task
from proponent.steps.io.job import Job
from proponent.steps.io.script_output import is_finite, read_targets, read_weights
from proponent.steps.io.setting_inputs import checked_model, load_data
from proponent.steps.io.training_script import TrainingScript, script_seed
from proponent.training.designs import run_at
from proponent.training.predict import targets


def run(job: Job[RetrainScriptSpec, DataInputs]) -> None:
    """Write ``masks`` (n_runs, n_train) bool, ``targets`` (n_runs, n_query) float32 and ``diverged`` (n_runs,) bool.

    A run whose weights or targets are not finite keeps its place, with NaN targets; the manifest names its subset, repeat
    and seed. Targets are saved after every model, so that a shard which is killed continues where it was.
    """
    spec = job.spec
    torch.set_num_threads(job.threads)
    data = load_data(job)
    n_train, n_query = len(data.y_train), len(data.y_query)
    targets_of = _reader(job, data)
    first, stop = spec.runs
    design = spec.design.reaching(stop)
    runs = [run_at(design, spec.design.name, n_train, spec.seed, index) for index in range(first, stop)]
    script = TrainingScript(job, spec.setting, spec.command, (job.root / job.inputs.data).parent, n_train)
    result = job.read_partial() or {
        "targets": torch.full((len(runs), n_query), torch.nan),
        "done": torch.zeros(len(runs), dtype=torch.bool),
    }
    for row, one in enumerate(progress(runs, f"retraining {len(runs)} models")):
        if result["done"][row]:
            continue
        name = f"retraining {first + row} of design {spec.design.name}"
        out = script.run(name, one)
        try:
            found = targets_of(out)
        except UserError as error:
            raise script.problem(f"trained {name}: {error}") from error
        result["targets"][row] = found if found.isfinite().all() else torch.nan
        result["done"][row] = True
        script.discard(out)
        job.write_partial(result)
    script.charge()
    diverged = ~result["targets"].isfinite().all(1)
    everything = torch.ones(n_train, dtype=torch.bool)
    masks = torch.stack([everything if one.mask is None else one.mask for one in runs])
    job.write_tensors(job.artefact, {"masks": masks, "targets": result["targets"], "diverged": diverged})
    job.details["command"] = list(spec.command)
    job.details["diverged"] = [
        {
            "row": (first + index) // design.seeds,
            "repeat": (first + index) % design.seeds,
            "seed": script_seed(runs[index].init_seed),
        }
        for index in diverged.nonzero().flatten().tolist()
    ]


def _reader(job: Job[RetrainScriptSpec, DataInputs], data: Arrays) -> Callable[[Path], Tensor]:
    """Return a function that gives the targets of all queries, (n_query,) float32, from the folder of a model."""
    spec = job.spec
    if spec.model is None:
        return lambda out: read_targets(out, len(data.y_query))
    task = get_task(spec.task, spec.target)
    like = checked_model(spec.model, task, data, spec.setting, spec.precision)(0).to(job.device)

    def evaluated(out: Path) -> Tensor:
        state = read_weights(out, like)
        if not is_finite(state):
            return torch.full((len(data.y_query),), torch.nan)
        stacked = {name: value[None].to(job.device) for name, value in state.items()}
        return targets(like, stacked, data.x_query, data.y_query, task, models=1)[0].float()

    return evaluated

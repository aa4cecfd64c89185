"""``proponent retrain-masks``: retrain a shard of derived masks in lockstep and store what the models say of the queries."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from proponent.config.specifications.derived_specs import RetrainMasksSpec
from proponent.config.specifications.step_inputs import RetrainMasksInputs
from proponent.steps.io.job import Job
from proponent.steps.io.retrainer import Retrainer
from proponent.steps.io.setting_inputs import load_data
from proponent.store.tensors import load_tensors
from proponent.training.designs import Run
from proponent.training.masked_runs import masked_run


def run(job: Job[RetrainMasksSpec, RetrainMasksInputs]) -> None:
    """Write ``targets`` (n_runs, n_query) float32, ``correct`` (n_runs, n_query) and ``diverged`` (n_runs,) bool.

    ``correct`` says whether the model predicts the query's label; it is missing where queries do not have one class each.
    Retraining ``row * seeds + repeat`` is that of the mask in this row. Fewer masks than were planned leave the last shards
    empty. A run that diverged keeps its place, with NaN targets. Finished groups are saved, so that a shard which is killed
    continues where it was.
    """
    spec = job.spec
    data = load_data(job)
    runs = _runs(spec, load_tensors(job.read(job.inputs.masks))["masks"])
    n_query = len(data.y_query)
    result = job.read_partial() or {
        "targets": torch.full((len(runs), n_query), torch.nan),
        "correct": torch.zeros(len(runs), n_query, dtype=torch.bool),
        "diverged": torch.zeros(len(runs), dtype=torch.bool),
        "done": torch.zeros(len(runs), dtype=torch.bool),
    }
    if runs:
        retrainer = Retrainer(job, data)
        for group in retrainer.groups(runs):
            if result["done"][group].all():
                continue
            found = retrainer.train([runs[index] for index in group])
            result["targets"][group] = found.targets
            result["correct"][group] = found.correct
            result["diverged"][group] = found.diverged
            result["done"][group] = True
            if not result["done"].all():
                job.write_partial(result)
    written = {"targets": result["targets"], "diverged": result["diverged"]}
    if spec.task.lacks_classes is None:
        written["correct"] = result["correct"]
    job.write_tensors(job.artefact, written)
    job.details["retrainings"] = len(runs)
    job.details["diverged"] = _named(result["diverged"], runs, spec)


def _runs(spec: RetrainMasksSpec, masks: Tensor) -> Sequence[Run]:
    """Return the retrainings of the shard for which there is a mask."""
    rule, (first, stop) = spec.seeds, spec.runs
    found = []
    for index in range(first, min(stop, len(masks) * rule.seeds)):
        row, repeat = divmod(index, rule.seeds)
        own = -1 if rule.paired else row
        found.append(masked_run(masks[row], own, repeat, spec.seed, rule.metric, rule.by_weight))
    return found


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

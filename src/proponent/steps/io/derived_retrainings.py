"""Retrainings on derived masks, as the evaluation of a method reads them, and their cost."""

from __future__ import annotations

from typing import Any

import numpy as np

from proponent.config.specifications.step_inputs import EvaluateInputs
from proponent.config.specifications.step_specs import EvaluateSpec
from proponent.errors import UserError
from proponent.metrics.metric_inputs import DerivedRetrainings
from proponent.steps.io.job import Job
from proponent.store.arrays import load_arrays
from proponent.store.manifest import read_manifest


def read_derived(job: Job[EvaluateSpec, EvaluateInputs], metric: str) -> dict[str, DerivedRetrainings]:
    """Return the retrainings of a metric on the test queries: ``shared``, and ``own`` of the method where there are any.

    Args:
        job: evaluation of one method.
        metric: name of the metric's YAML file.
    """
    spec = job.spec
    names = {"shared": metric, "own": f"{metric}/{spec.method}"}
    return {
        name: _read(job, job.inputs.derived[source], spec.metrics[metric].design.seeds)  # type: ignore[union-attr]
        for name, source in names.items()
        if source in job.inputs.derived
    }


def _read(job: Job[EvaluateSpec, EvaluateInputs], paths: tuple[str, ...], n_seeds: int) -> DerivedRetrainings:
    tune, test = job.spec.queries.tune, job.spec.queries.test
    stored = load_arrays(job.read(paths[0]))
    shards = [load_arrays(job.read(path)) for path in paths[1:]]
    masks = stored["masks"]
    joined = {
        name: np.concatenate([shard[name][:, tune : tune + test] for shard in shards]).reshape(
            len(masks), n_seeds, test
        )
        for name in ("targets", "correct")
        if name in shards[0]
    }
    return DerivedRetrainings(
        masks=masks,
        targets=joined["targets"].astype(np.float64),
        rows={name.removeprefix("rows_"): rows for name, rows in stored.items() if name.startswith("rows_")},
        correct=joined.get("correct"),
    )


def cost_of_retrainings(job: Job[EvaluateSpec, EvaluateInputs]) -> dict[str, Any]:
    """Return the number and the seconds of the retrainings on masks from the method's scores; empty without any.

    They belong to the benchmark, and are not part of the method's total.

    Raises:
        UserError: a shard has no manifest.
    """
    shards = [path for name, paths in job.inputs.derived.items() if "/" in name for path in paths[1:]]
    if not shards:
        return {}
    manifests = [read_manifest(job.root / path) for path in shards]
    if None in manifests:
        path = shards[manifests.index(None)]
        raise UserError(f"{path}: has no manifest; delete it and run snakemake again")
    return {
        "metric_retrainings": sum(int(found.details["retrainings"]) for found in manifests if found),
        "metric_retraining_seconds": round(sum(found.seconds for found in manifests if found), 3),
    }

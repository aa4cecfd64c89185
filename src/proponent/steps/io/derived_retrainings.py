"""Retrainings on derived masks, as the evaluation of a method reads them, and their cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proponent.config.derived_designs import DerivedKind
from proponent.config.specifications.step_inputs import EvaluateInputs
from proponent.config.specifications.table_specs import EvaluateSpec
from proponent.errors import UserError
from proponent.metrics.metric_inputs import DerivedRetrainings, RemovalSearch
from proponent.steps.io.job import Job
from proponent.store.arrays import load_arrays
from proponent.store.manifest import read_manifest


def read_derived(job: Job[EvaluateSpec, EvaluateInputs], metric: str) -> dict[str, Any]:
    """Return the fields of :class:`MetricInputs` with the retrainings of a metric on the test queries.

    Retrainings are ``shared`` by all methods, and ``own`` of the method where there are any.

    Args:
        job: evaluation of one method.
        metric: name of the metric's YAML file.
    """
    spec = job.spec
    design = spec.metrics[metric].design
    if design is None:
        return {}
    names = {"shared": metric, "own": f"{metric}/{spec.method}"}
    sources = {
        name: job.inputs.derived[source] for name, source in names.items() if source in job.inputs.derived
    }
    if design.kind is DerivedKind.patch:  # masks and targets are in one file
        whole = {name: (path, path) for name, (path,) in sources.items()}
        return {"derived": {name: _retrainings(job, paths, design.seeds) for name, paths in whole.items()}}
    if design.kind is DerivedKind.support:
        return {"searches": {name: _search(job, paths) for name, paths in sources.items()}}
    return {"derived": {name: _retrainings(job, paths, design.seeds) for name, paths in sources.items()}}


def _retrainings(
    job: Job[EvaluateSpec, EvaluateInputs], paths: tuple[str, ...], n_seeds: int
) -> DerivedRetrainings:
    tune, test = job.spec.queries.tune, job.spec.queries.test
    stored = load_arrays(job.read(paths[0]))
    shards = [load_arrays(job.read(path)) for path in paths[1:]]
    masks = stored["masks"]
    joined = {
        name: np.concatenate([shard[name][:, tune : tune + test] for shard in shards])
        for name in ("targets", "correct")
        if name in shards[0]
    }
    shaped = {name: array.reshape(len(masks), n_seeds, test) for name, array in joined.items()}
    targets = shaped["targets"].astype(np.float64)
    return DerivedRetrainings(masks, targets, _rows(stored), shaped.get("correct"))


def _search(job: Job[EvaluateSpec, EvaluateInputs], paths: tuple[str, ...]) -> RemovalSearch:
    stored = load_arrays(job.read(paths[0]))
    shards = [load_arrays(job.read(path)) for path in paths[1:]]
    smallest, predicted = (
        np.concatenate([shard[name] for shard in shards]) for name in ("smallest", "predicted")
    )
    return RemovalSearch(smallest, predicted, _rows(stored), stored["orders"].shape[1])


def _rows(stored: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name.removeprefix("rows_"): rows for name, rows in stored.items() if name.startswith("rows_")}


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

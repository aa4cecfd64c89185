"""``proponent evaluate``: one method's scores on one setting against the ground truth, and their cost."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proponent.config.metric_functions import metric_function
from proponent.config.specifications.step_inputs import EvaluateInputs
from proponent.config.specifications.table_specs import EvaluateSpec
from proponent.errors import UserError
from proponent.metrics.estimate import Array
from proponent.metrics.metric_inputs import MetricInputs, Retrainings, check_scores
from proponent.steps.io.derived_retrainings import cost_of_retrainings, read_derived
from proponent.steps.io.job import Job
from proponent.steps.io.stored_arrays import count_examples, load_numpy_data
from proponent.store.arrays import load_arrays
from proponent.store.manifest import Manifest, read_manifest


def run(job: Job[EvaluateSpec, EvaluateInputs]) -> None:
    """Write ``metrics/M.json``: every metric that the setting allows, on the test queries, and the cost ledger."""
    spec = job.spec
    metrics: dict[str, Any] = {}
    header = {"setting": spec.setting, "method": spec.method, "key": job.key}
    costs = cost(job.root, job.inputs.scores, spec.shares, spec.tuned_on)
    reason = _manifest(job.root, job.inputs.scores).details.get("left_out")
    if reason:
        job.write_json(job.artefact, {**header, "metrics": {}, "left_out": reason, "cost": costs})
        return
    inputs, costs = _metric_inputs(job), costs | cost_of_retrainings(job)
    for name, metric in spec.metrics.items():
        module, function = metric_function(metric.metric)
        evaluate = getattr(importlib.import_module(module), function)
        try:
            estimates = evaluate(replace(inputs, **read_derived(job, name)), **metric.params)
        except UserError as error:
            raise UserError(f"results/{spec.setting}: {error}") from error
        metrics |= {entry: estimate.as_dict() for entry, estimate in estimates.items()}
    content = {**header, "metrics": metrics, "cost": costs}
    notes = [*_manifest(job.root, job.inputs.scores).details.get("notes", []), *constant_notes(metrics)]
    job.write_json(job.artefact, content | ({"notes": notes} if notes else {}))


def constant_notes(metrics: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a note per metric in which queries count as 0 or as chance because something is the same for all examples.

    Args:
        metrics: entries of ``metrics/M.json`` by metric.
    """
    return [
        f"{name}: {entry[count]} of {entry['n_queries']} queries have constant {what}"
        for name, entry in metrics.items()
        for count, what in (
            ("n_constant", "predictions and count as 0"),
            ("n_constant_targets", "targets and count as 0"),
            ("n_constant_scores", "scores and count as chance"),
        )
        if entry.get(count) and "n_queries" in entry
    ]


def _metric_inputs(job: Job[EvaluateSpec, EvaluateInputs]) -> MetricInputs:
    """Return the scores and the ground truth of the test queries."""
    spec = job.spec
    tune, test = spec.queries.tune, spec.queries.test
    rows = slice(tune, tune + test)
    location = job.read(job.inputs.scores)
    arrays = load_arrays(location)
    scores = arrays["scores"].astype(np.float64)
    check_scores(scores, tune + test, count_examples(job), job.inputs.scores)
    own = arrays.get("self_influence")
    needs = {need for metric in spec.metrics.values() for need in metric.needs}
    return MetricInputs(
        scores=scores[rows],
        self_influence=None if own is None else own.astype(np.float64),
        groups=_groups(spec.groups, location, rows) if spec.groups else None,
        ground_truth={
            design: _read_retrainings(job, path, rows) for design, path in job.inputs.ground_truth.items()
        },
        noisy_labels=_read_noise(job) if "noisy_labels" in needs else None,
        labels=_read_labels(job, rows) if "labels" in needs else None,
        planted=_read_planted(job, rows) if any(need.startswith("planted/") for need in needs) else {},
        repeated={what: _read_repeated(job, path, rows) for what, path in job.inputs.repeated.items()},
    )


def _groups(module: str, location: Path, rows: slice) -> Callable[[NDArray[np.bool_]], Array]:
    """Return the predictions of a method that is not additive, from masks (n_subsets, n_train) to (n_subsets, n_query)."""
    import torch

    from proponent.store.tensors import load_tensors

    group_scores, tensors = importlib.import_module(module).group_scores, load_tensors(location)

    def predicted(masks: NDArray[np.bool_]) -> Array:
        found: Array = group_scores(tensors, torch.from_numpy(masks))[:, rows].double().numpy()
        return found

    return predicted


def _read_retrainings(job: Job[EvaluateSpec, EvaluateInputs], path: str, rows: slice) -> Retrainings:
    stored = load_arrays(job.read(path))
    return Retrainings(stored["masks"], stored["targets"][:, :, rows].astype(np.float64))


def _read_noise(job: Job[EvaluateSpec, EvaluateInputs]) -> NDArray[np.bool_]:
    path = job.read(job.inputs.data).with_name("noisy_labels.safetensors")
    mask: NDArray[np.bool_] = load_arrays(path)["noisy_labels"]
    return mask


def _read_labels(job: Job[EvaluateSpec, EvaluateInputs], rows: slice) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the classes of the training examples, as the models saw them, and of the test queries."""
    data = load_numpy_data(job)
    y_train, y_query = (labels.reshape(len(labels), -1)[:, 0] for labels in (data.y_train, data.y_query))
    return y_train, y_query[rows]


def _read_planted(job: Job[EvaluateSpec, EvaluateInputs], rows: slice) -> dict[str, NDArray[Any]]:
    """Return the truth of a planted change, for the test queries."""
    stored = load_arrays(job.read(job.inputs.data).with_name("planted.safetensors"))
    return {name: values[rows] if name.endswith("_queries") else values for name, values in stored.items()}


def _read_repeated(job: Job[EvaluateSpec, EvaluateInputs], path: str, rows: slice) -> NDArray[np.floating]:
    scores: NDArray[np.floating] = load_arrays(job.read(path))["scores"][rows]
    return scores


def cost(root: Path, scores: str, shares: dict[str, float], tuned_on: Iterable[str]) -> dict[str, Any]:
    """Return the cost of a method's scores: of its own step, and its share of everything that they were made from.

    ``attribution_seconds`` is the final run of the method alone; ``tuning_seconds`` the choice of its hyper-parameters;
    ``total_seconds`` adds the shares of data, ensemble and features. ``peak_memory_mib`` is the largest resident set among
    all of them, ``bytes`` their size on disk. The retrainings on which candidates were compared (``tuned_on``) are the
    same for all methods and are reported separately: ``tuning_retraining_seconds``.

    Args:
        root: the checkout.
        scores: path of the method's scores.
        shares: share of each artefact's cost that the method pays for, by path (:mod:`proponent.plan.charges`).
        tuned_on: shards of the retrainings on which the method's candidates were compared.

    Raises:
        UserError: an artefact has no manifest.
    """
    ledger: dict[str, dict[str, float]] = {}
    tuning = attribution = peak = 0.0
    for path, share in sorted(shares.items()):
        manifest = _manifest(root, path)
        ledger[path] = {
            "share": round(share, 4),
            "seconds": manifest.seconds,
            "bytes": manifest.bytes,
            "peak_memory_mib": manifest.peak_memory_mib,
        }
        peak = max(peak, manifest.peak_memory_mib)
        if path == scores:
            tuning = float(manifest.details.get("tuning_seconds", 0.0))
            attribution = float(manifest.details.get("attribution_seconds", manifest.seconds))
    return {
        "attribution_seconds": round(attribution, 3),
        "tuning_seconds": round(tuning, 3),
        "tuning_retraining_seconds": round(sum(_manifest(root, path).seconds for path in tuned_on), 3),
        "total_seconds": round(sum(entry["share"] * entry["seconds"] for entry in ledger.values()), 3),
        "peak_memory_mib": round(peak, 1),
        "bytes": int(sum(entry["share"] * entry["bytes"] for entry in ledger.values())),
        "ledger": ledger,
    }


def _manifest(root: Path, path: str) -> Manifest:
    manifest = read_manifest(root / path)
    if manifest is None:
        raise UserError(f"{path}: has no manifest, so its cost is unknown; delete it and run snakemake again")
    return manifest

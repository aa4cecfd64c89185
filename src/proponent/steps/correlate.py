"""``proponent correlate``: the rank correlations between the scores of all methods of a setting."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from proponent.config.specifications.step_inputs import AgreementInputs
from proponent.config.specifications.table_specs import AgreementSpec
from proponent.metrics.estimate import Array
from proponent.metrics.method_agreement import evaluate
from proponent.publish.leaderboard import to_csv
from proponent.steps.io.job import Job
from proponent.store.arrays import map_arrays
from proponent.store.manifest import read_manifest

COLUMNS = ("setting", "method_a", "method_b", "agreement", "ci_low", "ci_high", "n_constant", "n_queries")


def run(job: Job[AgreementSpec, AgreementInputs]) -> None:
    """Write one row per pair of methods that have scores: their rank correlation over test queries, with its interval."""
    spec = job.spec
    scores = {
        method: _rows(job, path) for method, path in job.inputs.scores.items() if _has_scores(job, path)
    }
    rows = []
    for pair in evaluate(scores, spec.queries.test, **spec.params):
        estimate = pair.estimate
        values = {"agreement": estimate.value, "ci_low": estimate.ci_low, "ci_high": estimate.ci_high}
        own = {"setting": spec.setting, "method_a": pair.method_a, "method_b": pair.method_b}
        rows.append({**own, **values, **estimate.extras})
    job.write_bytes(job.artefact, to_csv(rows, COLUMNS).encode())


def _has_scores(job: Job[AgreementSpec, AgreementInputs], path: str) -> bool:
    job.read(path)
    manifest = read_manifest(job.root / path)
    return manifest is not None and "left_out" not in manifest.details


def _rows(job: Job[AgreementSpec, AgreementInputs], path: str) -> Callable[[int], Array]:
    """Return a function from the number of a test query to its scores, which are read when they are used."""
    stored = map_arrays(job.root / path)["scores"]
    return lambda query: np.asarray(stored[job.spec.queries.tune + query], dtype=np.float64)

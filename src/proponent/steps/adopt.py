"""``proponent adopt``: check the scores that a rule of the user's own made, and write their manifest."""

from __future__ import annotations

from pathlib import Path

from proponent.config.specifications.method_specs import AdoptSpec
from proponent.config.specifications.step_inputs import AttributeInputs
from proponent.errors import UserError
from proponent.metrics.metric_inputs import check_scores
from proponent.steps.io.job import Job
from proponent.steps.io.stored_arrays import count_examples
from proponent.store.arrays import load_arrays
from proponent.store.snakemake_benchmark import read_benchmark


def run(job: Job[AdoptSpec, AttributeInputs]) -> None:
    """Record the scores as whole, with the cost that the rule's ``benchmark:`` file states.

    Raises:
        UserError: the file holds no float tensor ``scores`` of shape (n_query, n_train) with finite values.
    """
    path = job.root / job.artefact
    if not path.is_file():
        raise UserError(f"{job.artefact}: not there yet; run snakemake, which runs its rule first")
    arrays = load_arrays(path)
    if "scores" not in arrays:
        held = ", ".join(sorted(arrays)) or "nothing"
        raise UserError(f"{job.artefact}: holds no tensor 'scores', only {held}")
    scores, queries = arrays["scores"], job.spec.queries
    if scores.dtype.kind != "f":
        raise UserError(f"{job.artefact}: 'scores' must be float32, not {scores.dtype}")
    check_scores(scores, queries.tune + queries.test, count_examples(job), job.artefact)
    job.adopt(job.artefact, *_measured(path))


def _measured(scores: Path) -> tuple[float, float]:
    """Return seconds and peak memory in MiB from Snakemake's benchmark file of the rule; zeros if there is none."""
    return read_benchmark(scores.parents[1] / "benchmarks" / f"attribute-{scores.stem}.tsv") or (0.0, 0.0)

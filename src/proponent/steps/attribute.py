"""``proponent attribute``: choose a method's hyper-parameters on tune queries and masks, then score all queries once."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from proponent.attribution.scoring import Scorer, accepted
from proponent.attribution.stored_values import as_array, check_values, clear_unresolved_rows
from proponent.attribution.tuning import choose
from proponent.config.benchmark_schema import Combine
from proponent.config.specifications.method_specs import AttributeSpec
from proponent.config.specifications.step_inputs import AttributeInputs
from proponent.metrics.metric_inputs import Retrainings
from proponent.notes import noted
from proponent.progress import progress
from proponent.steps.io.job import Job
from proponent.steps.io.left_out_marks import reason_to_leave_out, write_mark
from proponent.steps.io.method_inputs import member_inputs, shared_inputs
from proponent.store.arrays import load_arrays

_ALL = slice(None)


def run(job: Job[AttributeSpec, AttributeInputs]) -> None:
    """Write ``scores`` (n_query, n_train) float32, ``self_influence`` (n_train,) where defined, and the tuning record."""
    spec = job.spec
    reason = reason_to_leave_out(job, spec.uses, job.inputs.scores)
    if reason:
        write_mark(job, reason)
        return
    reason = _too_large(job)
    if reason:
        write_mark(job, reason, for_memory=True)
        return
    source, module = f"configs/methods/{spec.method}.yaml", importlib.import_module(spec.module)
    scorer = Scorer(
        module,
        attribute=getattr(module, spec.function),
        source=source,
        checkpoints=spec.checkpoints,
        normalised=spec.combine is Combine.normalised,
        groups=spec.groups,
    )
    data = _load_data(job)
    chosen = spec.candidates[0]
    is_tuned = len(spec.candidates) > 1
    if is_tuned:
        with noted():  # notes on candidates that were not chosen say nothing about the final scores
            chosen = _tune(job, data, scorer)
    tuned_at = job.seconds()

    with noted() as notes:
        outcomes = scorer.score(
            [chosen], _members(job, data, _ALL, spec.members), _to_finish(job, data, _ALL)
        )
        results = accepted(outcomes[0])
        arrays = {name: as_array(values) for name, values in results.items() if values.ndim}
        check_values(arrays["scores"], (len(data.y_query), len(data.y_train)), "scores", source)
        arrays["scores"] = clear_unresolved_rows(arrays["scores"])
    scalars = {name: round(values.item(), 6) for name, values in results.items() if not values.ndim}
    job.details |= {"scalars": scalars} if scalars else {}
    job.details["attribution_seconds"] = round(job.seconds() - tuned_at, 3)
    job.details["tuning_seconds"] = round(tuned_at, 3) if is_tuned else 0.0
    job.details["hyper_parameters"] = chosen
    job.details |= {"notes": notes} if notes else {}
    if spec.self_influence:
        with noted() as own_notes:
            values = scorer.self_influence(spec.params, _members(job, data, _ALL, spec.members))
            arrays["self_influence"] = as_array(values)
            check_values(arrays["self_influence"], (len(data.y_train),), "self_influence", source)
        more = [f"self-influence: {note}" for note in own_notes if note not in notes]
        job.details |= {"notes": [*notes, *more]} if more else {}
    sign = "positive: having the training example raises the target of the query"
    metadata = {"setting": spec.setting, "method": spec.method, "key": job.key, "sign": sign}
    job.write_arrays(job.artefact, arrays, metadata)


def _too_large(job: Job[AttributeSpec, AttributeInputs]) -> str | None:
    """Return why the method cannot run within ``compute.memory_mib``; None if it can."""
    # Imported by name: these modules decide no number, and one of them imports torch.
    name = "method_memory" if job.spec.arrays == "numpy" else "planned_memory"
    reason: str | None = importlib.import_module(f"proponent.steps.io.{name}").refusal(job.root, job.spec)
    return reason


def _tune(job: Job[AttributeSpec, AttributeInputs], data: Any, scorer: Scorer) -> dict[str, Any]:
    """Return the best candidate on tune queries and tune masks, and write the tuning record."""
    spec, rows = job.spec, slice(0, job.spec.queries.tune)
    stored = load_arrays(job.read(job.inputs.ground_truth["tune"]))
    truth = Retrainings(stored["masks"], stored["targets"][:, :, rows].astype("float64"))
    members, to_finish = _members(job, data, rows, spec.tune_members), _to_finish(job, data, rows)
    record = choose(
        spec.candidates,
        lambda candidates: scorer.score(candidates, members, to_finish),
        scorer.predict,
        truth,
        scorer.source,
    )
    header = {"setting": spec.setting, "method": spec.method, "members": spec.tune_members}
    content = {**header, **record.as_dict(), "seconds": round(job.seconds(), 3)}
    job.write_json(f"results/{spec.setting}/tuning/{spec.method}.json", content)
    return record.chosen


def _members(
    job: Job[AttributeSpec, AttributeInputs], data: Any, rows: slice, count: int
) -> Iterator[dict[str, Any]]:
    return progress(member_inputs(job, data, rows, count), "attributing, by member", count)


def _to_finish(job: Job[AttributeSpec, AttributeInputs], data: Any, rows: slice) -> dict[str, Any] | None:
    return shared_inputs(job, job.spec.finish_needs, data, rows) if job.spec.finish_needs else None


def _load_data(job: Job[AttributeSpec, AttributeInputs]) -> Any:
    """Return the data as the arrays that the method computes with; those of NumPy are read without importing torch."""
    # Imported by name, as the loaders of needs are: a change of one of the two reaches no method that uses the other.
    if job.spec.arrays == "numpy":
        return importlib.import_module("proponent.steps.io.stored_arrays").load_numpy_data(job)
    importlib.import_module("torch").set_num_threads(job.threads)
    return importlib.import_module("proponent.steps.io.setting_inputs").load_data(job)

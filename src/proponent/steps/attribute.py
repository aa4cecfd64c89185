"""``proponent attribute``: choose a method's hyper-parameters on tune queries and masks, then score all queries once."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from proponent.attribution.member_mean import MemberMean
from proponent.config.keys import canonical
from proponent.config.schema import Combine
from proponent.config.step_specs import AttributeInputs, AttributeSpec
from proponent.errors import UserError
from proponent.methods.shared.solvers import damping_grid
from proponent.metrics.lds import predict
from proponent.metrics.metric_inputs import usable_retrainings
from proponent.metrics.ranks import resampled_spearman
from proponent.progress import progress
from proponent.settings.split import Arrays
from proponent.steps.io.job import Job
from proponent.steps.io.method_inputs import member_inputs, shared_inputs
from proponent.steps.io.setting_inputs import load_data
from proponent.store.tensors import load_tensors

Candidate = dict[str, Any]


def run(job: Job[AttributeSpec, AttributeInputs]) -> None:
    """Write ``scores`` (n_query, n_train) float32, ``self_influence`` (n_train,) where defined, and how it was tuned."""
    spec = job.spec
    data = load_data(job)
    torch.set_num_threads(job.threads)
    module = importlib.import_module(spec.module)
    attribute = getattr(module, spec.function)
    candidates = list(spec.candidates)
    chosen = candidates[0]
    if len(candidates) > 1:
        chosen = _tune(job, data, attribute, candidates)
    tuned_at = job.seconds()

    tensors = _score(job, data, slice(None), attribute, [chosen], spec.members)[0]
    expected = (len(data.x_query), len(data.x_train))
    _check(job, tensors["scores"], expected, "scores")
    figures = {name: round(tensor.item(), 6) for name, tensor in tensors.items() if tensor.ndim == 0}
    tensors = {name: _stored(tensor) for name, tensor in tensors.items() if tensor.ndim}
    if figures:
        job.details["figures"] = figures
    job.details["attribution_seconds"] = round(job.seconds() - tuned_at, 3)
    job.details["tuning_seconds"] = round(tuned_at, 3) if len(candidates) > 1 else 0.0
    if spec.self_influence:
        # What explains retrainings best says nothing of which labels are wrong, so the choice is not carried over.
        means = _average(job, data, slice(None), module.self_influence, [spec.params], spec.members)
        own = means[0].scores()
        _check(job, own, expected[1:], "self_influence")
        tensors["self_influence"] = own.float()
    job.details["hyper_parameters"] = chosen
    metadata = {
        "setting": spec.setting,
        "method": spec.method,
        "key": job.key,
        "sign": "positive: having the training example raises the target of the query",
    }
    job.write_tensors(job.artefact, tensors, metadata)


def _tune(
    job: Job[AttributeSpec, AttributeInputs],
    data: Arrays,
    attribute: Callable[..., Any],
    candidates: list[Candidate],
) -> Candidate:
    """Return the candidate with the best LDS on tune queries and tune masks, and write what every candidate reached."""
    spec = job.spec
    rows = slice(0, spec.queries.tune)
    truth = load_tensors(job.read(job.inputs.ground_truth["tune"]))
    usable = usable_retrainings(truth["targets"][:, :, rows].double().numpy(), "tune")
    masks = truth["masks"].numpy()[usable.subsets]
    once = np.ones((len(masks), 1))
    ordered = sorted(candidates, key=_without_damping)
    reached: list[dict[str, Any]] = []
    failed: dict[int, UserError] = {}
    averages = _score(job, data, rows, attribute, ordered, spec.tune_members, failed)
    for at, (candidate, tensors) in enumerate(zip(ordered, averages, strict=True)):
        if at in failed:
            reached.append({"params": candidate, "lds": None, "why": str(failed[at])})
            continue
        if not bool(tensors["scores"].isfinite().all()):
            reached.append({"params": candidate, "lds": None, "why": "scores are not finite"})
            continue
        per_query = resampled_spearman(_predict(job, tensors, masks), usable.mean, once)
        reached.append({"params": candidate, "lds": round(float(per_query.mean()), 6)})
    if len(failed) == len(ordered):
        raise next(iter(failed.values()))
    finite = [entry for entry in reached if entry["lds"] is not None]
    if not finite:
        raise UserError(f"configs/methods/{spec.method}.yaml: no candidate of tune.grid gives finite scores")
    best = max(finite, key=lambda entry: float(entry["lds"]))
    record = {
        "setting": spec.setting,
        "method": spec.method,
        "metric": "lds on tune queries and tune masks",
        "members": spec.tune_members,
        "candidates": reached,
        "chosen": best["params"],
        "seconds": round(job.seconds(), 3),
    }
    job.write_json(f"results/{spec.setting}/tuning/{spec.method}.json", record)
    return dict(best["params"])


def _score(
    job: Job[AttributeSpec, AttributeInputs],
    data: Arrays,
    rows: slice,
    attribute: Callable[..., Any],
    candidates: list[Candidate],
    members: int,
    failed: dict[int, UserError] | None = None,
) -> list[dict[str, Tensor]]:
    """Return the ``scores`` of every candidate: averaged over members, and finished by the method where it wants to.

    What a method returns beside them is kept: tensors where there is one member, figures (of no dimension) as means.
    Where ``failed`` is given, candidates that the method refuses are put there by their number, and have nothing.
    """
    if job.spec.groups:
        return [
            _attempt(job, attribute, inputs, candidates, at, failed) or {}
            for inputs in member_inputs(job, data, rows, members)
            for at in range(len(candidates))
        ]
    means = _average(job, data, rows, attribute, candidates, members, failed)
    if not job.spec.finish_needs:
        return [{"scores": mean.scores(), **mean.beside()} if mean.count else {} for mean in means]
    finish = importlib.import_module(job.spec.module).finish
    inputs = shared_inputs(job, job.spec.finish_needs, data, rows)
    return [
        {"scores": finish(mean.scores(), **inputs), **mean.beside()} if mean.count else {} for mean in means
    ]


def _predict(
    job: Job[AttributeSpec, AttributeInputs], tensors: dict[str, Tensor], masks: NDArray[np.bool_]
) -> NDArray[np.float64]:
    if not job.spec.groups:
        return predict(tensors["scores"].numpy(), masks)
    group_scores = importlib.import_module(job.spec.module).group_scores
    found: NDArray[np.float64] = group_scores(tensors, torch.from_numpy(masks)).double().numpy()
    return found


def _average(
    job: Job[AttributeSpec, AttributeInputs],
    data: Arrays,
    rows: slice,
    function: Callable[..., Any],
    candidates: list[Candidate],
    members: int,
    failed: dict[int, UserError] | None = None,
) -> list[MemberMean]:
    """Return the scores of every candidate, to be averaged over the first ``members`` of the ensemble.

    Each of the ``checkpoints`` that a method's configuration lists counts as a member of its own.

    Members are the outer loop and dampings the inner one, so that features are read once and one decomposition serves a
    whole damping grid.
    """
    means = [MemberMean(normalised=job.spec.combine is Combine.normalised) for _ in candidates]
    groups = [
        list(group)
        for _, group in itertools.groupby(range(len(candidates)), lambda at: _without_damping(candidates[at]))
    ]
    along = [{"checkpoint": checkpoint} for checkpoint in job.spec.checkpoints] or [{}]
    for inputs in progress(member_inputs(job, data, rows, members), "attributing, by member", members):
        for group, at_checkpoint in itertools.product(groups, along):
            with damping_grid([candidates[at]["damping"] for at in group if "damping" in candidates[at]]):
                for at in group:
                    found = _attempt(job, function, inputs, candidates, at, failed, at_checkpoint)
                    if found is not None:
                        means[at].add(found)
    return means


def _attempt(
    job: Job[AttributeSpec, AttributeInputs],
    function: Callable[..., Any],
    inputs: dict[str, Any],
    candidates: list[Candidate],
    at: int,
    failed: dict[int, UserError] | None,
    more: Candidate | None = None,
) -> Any:
    """Return what the method makes of a candidate; None, and why in ``failed`` where that is given, if it refuses."""
    if failed and at in failed:
        return None
    try:
        return _call(job, function, inputs, {**candidates[at], **(more or {})})
    except UserError as error:
        if failed is None:
            raise
        failed[at] = error
        return None


def _call(
    job: Job[AttributeSpec, AttributeInputs],
    function: Callable[..., Any],
    inputs: dict[str, Any],
    candidate: Candidate,
) -> Any:
    try:
        return function(**inputs, **candidate)
    except (UserError, ValueError) as error:
        raise UserError(f"configs/methods/{job.spec.method}.yaml with {candidate}: {error}") from error


def _stored(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _without_damping(candidate: Candidate) -> str:
    return canonical({name: value for name, value in candidate.items() if name != "damping"})


def _check(
    job: Job[AttributeSpec, AttributeInputs], tensor: Tensor, shape: tuple[int, ...], name: str
) -> None:
    method = f"configs/methods/{job.spec.method}.yaml"
    if tuple(tensor.shape) != shape:
        raise UserError(f"{method}: its {name} have shape {tuple(tensor.shape)}, {shape} expected")
    if not bool(tensor.isfinite().all()):
        bad = int((~tensor.isfinite()).sum())
        raise UserError(
            f"{method}: {bad} of {tensor.numel()} {name} are NaN or infinite; try a larger damping"
        )

"""``proponent patch-models``: let trained members take one optimiser step on the strongest proponents of single queries."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from proponent.chunking import chunks
from proponent.config.specifications.derived_specs import PatchModelsSpec
from proponent.config.specifications.step_inputs import PatchModelsInputs
from proponent.errors import UserError
from proponent.metrics.metric_inputs import check_scores
from proponent.progress import progress
from proponent.seeds import derive_seed
from proponent.settings.split import Arrays
from proponent.settings.tasks import get_task
from proponent.steps.io.control_orders import control_orders
from proponent.steps.io.job import Job
from proponent.steps.io.lockstep_size import lockstep_of
from proponent.steps.io.setting_inputs import checked_model, load_data
from proponent.steps.io.stored_arrays import load_numpy_data
from proponent.store.arrays import load_arrays
from proponent.store.tensors import load_tensors
from proponent.training import derived_masks as derive
from proponent.training.designs import Run
from proponent.training.lockstep import train
from proponent.training.predict import MODELS, targets
from proponent.training.single_step import single_step
from proponent.training.stack import stack_models


def run(job: Job[PatchModelsSpec, PatchModelsInputs]) -> None:
    """Write ``masks`` (n_masks, n_train) bool, True = in the batch of a step, and ``targets`` (n_masks · members, n_query).

    Row ``mask · members + member`` of ``targets`` is that of a member after one step on the examples of the mask, NaN if it
    has diverged. ``rows_scores`` (queries,) is the row of the mask of each query, or ``rows_random``, ``rows_same_class``
    and ``rows_similar`` those of the controls, next to ``rows_none`` (), an empty mask: the members as they are. Of scores
    that are left out there are no masks.
    """
    spec = job.spec
    masks, rows = derive.named_rows(_masks(job))
    found = torch.zeros(0, spec.queries.tune + spec.queries.test)
    if len(masks):
        found = _Members(job, load_data(job)).targets_after(torch.from_numpy(masks))
    job.write_arrays(job.artefact, {"masks": masks, "targets": found.numpy(), **rows})
    job.details["steps"] = int(masks.any(axis=1).sum()) * spec.design.seeds


def _masks(job: Job[PatchModelsSpec, PatchModelsInputs]) -> dict[str, NDArray[np.bool_]]:
    """Return the batches by name, (queries, n_train) or (n_train,)."""
    spec, data = job.spec, load_numpy_data(job)
    n, tune = len(data.y_train), spec.queries.tune
    count = min(spec.design.queries, spec.queries.test)
    if spec.design.count >= n:
        raise UserError(
            f"configs/metrics/{spec.metric}.yaml: design.count is {spec.design.count}, but there are {n} training examples; "
            "lower it"
        )
    if not spec.method:
        orders = control_orders(spec, data, count)
        return {"none": np.zeros(n, dtype=bool)} | {
            name: _first(own, spec.design.count) for name, own in orders.items()
        }
    arrays = load_arrays(job.read(job.inputs.scores))
    if "scores" not in arrays:  # the method is left out
        return {"scores": np.zeros((0, n), dtype=bool)}
    check_scores(arrays["scores"], len(data.y_query), n, job.inputs.scores)
    chosen = arrays["scores"][tune : tune + count].astype(np.float64)
    orders_of_scores = [
        derive.descending(row, derive_seed(spec.seed, "ties", query)) for query, row in enumerate(chosen)
    ]
    return {"scores": _first(orders_of_scores, spec.design.count)}


def _first(orders: list[derive.Order], count: int) -> NDArray[np.bool_]:
    """Return masks of the first ``count`` examples of each order, (n_orders, n)."""
    masks = np.zeros((len(orders), len(orders[0])), dtype=bool)
    for mask, order in zip(masks, orders, strict=True):
        mask[order[:count]] = True
    return masks


class _Members:
    """Members of the ensemble that take a step.

    Args:
        job: job whose specification names model, recipe, task and target.
        data: training examples and queries.

    Raises:
        UserError: the model cannot be built, or does not fit the data.
    """

    def __init__(self, job: Job[PatchModelsSpec, PatchModelsInputs], data: Arrays) -> None:
        spec = job.spec
        task = get_task(spec.task, spec.target)
        self._untrained = checked_model(spec.model, task, data, spec.setting, spec.recipe.precision)
        self._task, self._data = data.weighted(task)
        self._job, self._lockstep = job, spec.lockstep
        self._recipe = single_step(spec.recipe, spec.design.count)
        self._states = [_final(job, member) for member in range(spec.design.seeds)]

    def targets_after(self, masks: Tensor) -> Tensor:
        """Return the targets of the queries after one step of each member on each mask, (n_masks · members, n_query).

        Args:
            masks: (n_masks, n_train) bool, True = in the batch; with an empty batch the members stay as they are.
        """
        n = len(self._states)
        found = torch.full((len(masks) * n, len(self._data.y_query)), torch.nan)
        runs = {
            row * n + member: self._run(member, mask)
            for row, mask in enumerate(masks)
            for member in range(n)
            if mask.any()
        }
        if runs:
            order = list(runs.values())
            self._lockstep = lockstep_of(self._job, self._build, self._data, self._task, self._recipe, order)
        before = [row * n + member for row, mask in enumerate(masks) for member in range(n) if not mask.any()]
        if before:
            stack = stack_models(self._build, [index % n for index in before], self._job.device)
            found[before] = self._targets(stack.template, stack.state)
        groups = list(chunks(len(runs), self._lockstep))
        indices = list(runs)
        for some in progress(groups, "steps on proponents, by group", len(groups)):
            chosen = indices[some]
            trained = train(
                self._build,
                self._data.x_train,
                self._data.y_train,
                self._task,
                self._recipe,
                [runs[index] for index in chosen],
                lockstep=self._lockstep,
                device=self._job.device,
            )
            after = self._targets(trained.template, trained.state)
            after[trained.diverged] = torch.nan
            found[chosen] = after
        found[~found.isfinite().all(1)] = torch.nan
        return found

    def _run(self, member: int, mask: Tensor) -> Run:
        """Return a run of which the seed of the initialisation is the number of a member."""
        return Run(member, derive_seed(self._job.spec.seed, "patch", member), mask)

    def _build(self, member: int) -> nn.Module:
        model = self._untrained(0)
        model.load_state_dict(self._states[member])
        return model

    def _targets(self, template: nn.Module, state: dict[str, Tensor]) -> Tensor:
        data, together = self._data, min(self._lockstep, MODELS)
        return targets(template, state, data.x_query, data.y_query, self._task, models=together).float()


def _final(job: Job[PatchModelsSpec, Any], member: int) -> dict[str, Tensor]:
    """Return the state dict of a member after its training."""
    shard = job.inputs.ensemble[member // job.spec.members_per_job]
    return load_tensors(job.read(shard).parent / f"member-{member:03d}/final.safetensors")

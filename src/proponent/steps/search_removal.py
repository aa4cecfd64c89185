"""``proponent search-removal``: search the smallest number of examples whose removal flips a query."""

from __future__ import annotations

import torch
from torch import Tensor

from proponent.config.specifications.derived_specs import SearchRemovalSpec
from proponent.config.specifications.step_inputs import RetrainMasksInputs
from proponent.progress import progress
from proponent.steps.io.job import Job
from proponent.steps.io.retrainer import Predictions, Retrainer
from proponent.steps.io.setting_inputs import load_data
from proponent.store.tensors import load_tensors
from proponent.training.masked_runs import masked_run
from proponent.training.removal_search import Search


def run(job: Job[SearchRemovalSpec, RetrainMasksInputs]) -> None:
    """Write, for the orders of the shard, ``smallest`` and ``not_enough`` (n_orders,) int64 and ``predicted`` (n_orders,).

    ``predicted`` is the share of seeds for which the query is predicted correctly after training on all examples.
    ``smallest`` is the smallest number k of first examples of the order whose removal makes the prediction wrong for at
    least half of these seeds, and 0 if even the largest number does not; ``not_enough`` is the largest number that was tried
    in vain. Every round of the bisection trains the models of all orders in lockstep, and is saved when it is done.
    """
    spec = job.spec
    data = load_data(job)
    stored = load_tensors(job.read(job.inputs.masks))
    rows = slice(*spec.orders)
    orders, queries = stored["orders"][rows].long(), stored["queries"][rows].long()
    n, seeds, n_train = len(orders), spec.seeds.seeds, len(data.y_train)
    largest = min(max(1, round(spec.share * n_train)), n_train - 1)
    trained = 0
    result = job.read_partial() or {
        "right": torch.zeros(n, seeds, dtype=torch.bool),
        "low": torch.zeros(n, dtype=torch.int64),
        "high": torch.zeros(n, dtype=torch.int64),
        "rounds": torch.tensor(-1),
        "trained": torch.tensor(0),
    }
    if n:
        retrainer = Retrainer(job, data)
        everything = torch.ones(1, n_train, dtype=torch.bool)
        if result["rounds"] < 0:
            found = _train(retrainer, everything, spec)
            result["right"] = (found.correct & ~found.diverged[:, None])[:, queries].T
            result |= {"rounds": torch.tensor(0), "trained": torch.tensor(seeds)}
            job.write_partial(result)
        rounds = range(int(result["rounds"]), spec.rounds + 1)
        for index in progress(rounds, "bisection, by round", len(rounds)):
            search = Search(result["low"], result["high"], largest)
            sizes = torch.where(result["right"].any(1), search.sizes(), 0)
            active = sizes.nonzero().flatten()
            if not len(active):
                break
            masks = _without_first(orders[active], sizes[active])
            found = _train(retrainer, masks, spec)
            flipped = torch.zeros(n, dtype=torch.bool)
            flipped[active] = _flips(found, queries[active], result["right"][active])
            search = search.after(sizes, flipped)
            trained = int(result["trained"]) + len(active) * seeds
            result |= {"low": search.low, "high": search.high}
            result |= {"rounds": torch.tensor(index + 1), "trained": torch.tensor(trained)}
            job.write_partial(result)
    written = {"smallest": result["high"], "not_enough": result["low"]}
    job.write_tensors(job.artefact, written | {"predicted": result["right"].float().mean(1)})
    job.details["retrainings"] = int(result["trained"])


def _train(retrainer: Retrainer, masks: Tensor, spec: SearchRemovalSpec) -> Predictions:
    """Return what models say that are trained on each mask with each seed; rows are ``mask * seeds + repeat``."""
    rule = spec.seeds
    runs = [
        masked_run(mask, -1, repeat, spec.seed, rule.metric, rule.by_weight)
        for mask in masks
        for repeat in range(rule.seeds)
    ]
    parts = [(group, retrainer.train([runs[index] for index in group])) for group in retrainer.groups(runs)]
    order = torch.tensor([index for group, _ in parts for index in group]).argsort()
    return Predictions(
        torch.cat([found.targets for _, found in parts])[order],
        torch.cat([found.correct for _, found in parts])[order],
        torch.cat([found.diverged for _, found in parts])[order],
    )


def _without_first(orders: Tensor, sizes: Tensor) -> Tensor:
    """Return masks without the first examples of each order, (n, n_train)."""
    masks = torch.ones(orders.shape, dtype=torch.bool)
    for mask, order, size in zip(masks, orders, sizes.tolist(), strict=True):
        mask[order[:size]] = False
    return masks


def _flips(found: Predictions, queries: Tensor, right: Tensor) -> Tensor:
    """Return whether each order's own query is wrong for at least half of the seeds that predicted it before, (n,).

    Args:
        found: predictions, rows ``order * seeds + repeat``.
        queries: (n,) query of each order.
        right: (n, seeds), whether the query is predicted correctly after training on all examples.
    """
    n, seeds = right.shape
    correct = found.correct.reshape(n, seeds, -1)[torch.arange(n), :, queries]
    counted = right & ~found.diverged.reshape(n, seeds)
    wrong = (counted & ~correct).sum(1)
    return (2 * wrong >= counted.sum(1)) & counted.any(1)

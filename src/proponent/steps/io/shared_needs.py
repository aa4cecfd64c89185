"""Needs that are the same for all members: stored retrainings, and the scores of other methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from proponent.config.specifications.method_specs import AttributeSpec
from proponent.config.specifications.need_loaders import LEARNED_FROM
from proponent.config.specifications.step_inputs import AttributeInputs
from proponent.metrics.usable_retrainings import usable_retrainings
from proponent.steps.io.job import Job
from proponent.store.tensors import load_tensors


@dataclass(frozen=True, eq=False)
class Retrainings:
    """See :class:`proponent.methods.shared.needs.Retrainings`."""

    masks: Tensor
    targets: Tensor


@dataclass(frozen=True, eq=False)
class Permutations:
    """See :class:`proponent.methods.shared.needs.Permutations`."""

    masks: Tensor
    targets: Tensor


def read(job: Job[AttributeSpec, AttributeInputs], need: str, rows: slice) -> Any:
    """Return what a method is handed under the name ``need``: ``retrainings``, ``permutations`` or ``scores``.

    Args:
        job: job of the method.
        need: name of the need.
        rows: queries that are wanted.

    Raises:
        UserError: too few retrainings are usable.
    """
    if need == "scores":
        # Key files are JSON with sorted keys, so the specification states the order.
        paths = ((name, job.inputs.scores[name]) for name in job.spec.scores)
        return {name: load_tensors(job.read(path))["scores"][rows] for name, path in paths}
    design = LEARNED_FROM[need]
    stored = load_tensors(job.read(job.inputs.ground_truth[design]))
    return (
        _retrainings(stored, design, rows) if need == "retrainings" else _permutations(stored, design, rows)
    )


def _retrainings(stored: dict[str, Tensor], design: str, rows: slice) -> Retrainings:
    """Return the retrainings of a design, without those that diverged."""
    usable = usable_retrainings(stored["targets"][:, :, rows].double().numpy(), design)
    masks = stored["masks"][torch.from_numpy(usable.subsets)]
    return Retrainings(masks, torch.from_numpy(usable.mean).float())


def _permutations(stored: dict[str, Tensor], design: str, rows: slice) -> Permutations:
    """Return the retrainings of a design of nested subsets; an order in which one diverged is left out entirely."""
    n_prefixes = int(stored["masks"].all(1).nonzero()[0].item()) + 1
    targets = stored["targets"][:, :, rows].unflatten(0, (-1, n_prefixes))
    usable = usable_retrainings(targets.permute(0, 2, 1, 3).flatten(2).double().numpy(), design)
    kept = torch.from_numpy(usable.subsets)
    masks = stored["masks"].unflatten(0, (-1, n_prefixes))[kept]
    return Permutations(masks, torch.from_numpy(usable.mean).float().unflatten(1, (n_prefixes, -1)))

"""From the stored retrainings of a design to what a method may learn from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from proponent.metrics.metric_inputs import usable_retrainings
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


def read_retrainings(job: Job, design: str, rows: slice) -> Retrainings:
    """Read the retrainings of a design, without those that diverged.

    Args:
        job: has the ground truth of the design among its inputs.
        design: name of the design.
        rows: the queries that are wanted.

    Raises:
        UserError: too few retrainings are usable.
    """
    stored = load_tensors(job.read(job.input(f"/ground_truth/{design}.safetensors")))
    usable = usable_retrainings(stored["targets"][:, :, rows].double().numpy(), design)
    masks = stored["masks"][torch.from_numpy(usable.subsets)]
    return Retrainings(masks, torch.from_numpy(usable.mean).float())


def read_permutations(job: Job, design: str, rows: slice) -> Permutations:
    """Read the retrainings of a design of nested subsets; an order in which one diverged is left out whole.

    Arguments and errors are those of :func:`read_retrainings`.
    """
    stored = load_tensors(job.read(job.input(f"/ground_truth/{design}.safetensors")))
    n_prefixes = int(stored["masks"].all(1).nonzero()[0].item()) + 1
    targets = stored["targets"][:, :, rows].unflatten(0, (-1, n_prefixes))
    usable = usable_retrainings(targets.permute(0, 2, 1, 3).flatten(2).double().numpy(), design)
    kept = torch.from_numpy(usable.subsets)
    masks = stored["masks"].unflatten(0, (-1, n_prefixes))[kept]
    return Permutations(masks, torch.from_numpy(usable.mean).float().unflatten(1, (n_prefixes, -1)))

"""From the stored retrainings of a design to what a method may learn from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from proponent.metrics.inputs import usable_retrainings
from proponent.steps.job import Job
from proponent.store.tensors import load_tensors


@dataclass(frozen=True, eq=False)
class Retrainings:
    """See :class:`proponent.methods.inputs.Retrainings`."""

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

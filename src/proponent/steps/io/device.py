"""The device of a job: a configured GPU is used, or the job fails."""

from __future__ import annotations

import os
import sys
from typing import Any

from proponent.errors import UserError
from proponent.steps.io.job import Job


def settle_device(job: Job[Any, Any]) -> None:
    """Decide where the numbers are computed, and hide every other device; must be called before torch is imported.

    With ``cuda`` a job without a device fails. ``auto`` uses a device if there is one; the log and the manifest record
    which device it was.

    Raises:
        UserError: ``compute.device`` is ``cuda``, but no GPU is visible.
    """
    asked = job.spec.engine.device
    if asked == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return
    # Without it, cuBLAS may change bytes from run to run.
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        job.device, described = "cuda", f"{name}, the first of {torch.cuda.device_count()}"
    elif asked == "auto":
        job.device, described = "cpu", "no GPU was found"
    else:
        raise UserError(
            f"{job.artefact}: compute.device is 'cuda', but no GPU is visible to this job (CUDA_VISIBLE_DEVICES is "
            f"{visible or 'empty'}); request a partition with GPUs, or set compute.device to auto or cpu in params.yaml"
        )
    print(
        f"device: {job.device} ({described}; CUDA_VISIBLE_DEVICES is {visible or 'empty'})", file=sys.stderr
    )

"""Where a job computes: the promise of a GPU is kept, or the job fails."""

from __future__ import annotations

import os
import sys

from proponent.errors import UserError
from proponent.steps.io.job import Job


def settle_device(job: Job) -> None:
    """Fix where the numbers are computed, and let the job see no other device; must come before torch is imported.

    ``cuda`` is a promise: without a device the job fails. ``auto`` takes a device where there is one; the log and the
    manifest say what it came to.

    Raises:
        UserError: a GPU was promised and there is none.
    """
    asked = job.spec.get("device", "cpu")
    if asked == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return
    # Without it, cuBLAS may change bytes from run to run.
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        found, words = "cuda", f"{name}, the first of {torch.cuda.device_count()}"
    elif asked == "auto":
        found, words = "cpu", "no GPU was found"
    else:
        raise UserError(
            f"{job.artefact}: was promised a GPU and has none (CUDA_VISIBLE_DEVICES is {visible or 'empty'}); ask "
            "for the right partition, or set compute.device to auto or cpu in params.yaml"
        )
    print(f"device: {found} ({words}; CUDA_VISIBLE_DEVICES is {visible or 'empty'})", file=sys.stderr)
    job.asked_device = asked
    job.spec = {**job.spec, "device": found}

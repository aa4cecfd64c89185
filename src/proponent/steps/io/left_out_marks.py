"""Marks in place of scores and features that the check of a setting found impossible: a reason, and no tensors."""

from __future__ import annotations

import sys
from typing import Any

from proponent.config.specifications.step_specs import SettingSpec
from proponent.steps.io.job import Job
from proponent.store.files import read_json


def left_out_reason(job: Job[SettingSpec, Any], part: str, name: str) -> str | None:
    """Return why the check left something out; None if it did not, or if there was no check (a job started by hand).

    Args:
        job: job of the same setting.
        part: ``left_out`` for methods, ``features`` for kinds of features.
        name: name of the method or kind.
    """
    path = job.root / f"results/{job.spec.setting}/check.json"
    reason: str | None = read_json(path)[part].get(name) if path.exists() else None
    return reason


def write_mark(job: Job[SettingSpec, Any], reason: str) -> None:
    """Write a file without tensors, and the reason in its header, in the manifest and on the log."""
    print(f"left out: {reason}", file=sys.stderr)
    job.write_arrays(job.artefact, {}, {"setting": job.spec.setting, "key": job.key, "left_out": reason})
    job.details["left_out"] = reason

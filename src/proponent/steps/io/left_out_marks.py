"""Marks in place of scores and features that the check of a setting found impossible: a reason, and no tensors."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from proponent.config.specifications.step_specs import SettingSpec
from proponent.steps.io.job import Job
from proponent.store.files import read_json
from proponent.store.manifest import read_manifest


def reason_to_leave_out(
    job: Job[SettingSpec, Any], uses: Iterable[str], starts_from: dict[str, str]
) -> str | None:
    """Return why a job makes a mark; None if it does its work, also where there was no check (a job started by hand).

    Args:
        job: job that needs the model.
        uses: needs and operations that it uses.
        starts_from: paths of scores from which it starts, by method.
    """
    path = job.root / f"results/{job.spec.setting}/check.json"
    unusable = read_json(path)["unusable"] if path.exists() else {}
    for use in uses:
        if use in unusable:
            return str(unusable[use])
    for method, scores in starts_from.items():
        manifest = read_manifest(job.root / scores)
        if manifest is not None and "left_out" in manifest.details:
            return f"starts from the scores of '{method}', which is left out"
    return None


def write_mark(job: Job[SettingSpec, Any], reason: str) -> None:
    """Write a file without tensors, and the reason in its header, in the manifest and on the log."""
    print(f"left out: {reason}", file=sys.stderr)
    job.write_arrays(job.artefact, {}, {"setting": job.spec.setting, "key": job.key, "left_out": reason})
    job.details["left_out"] = reason

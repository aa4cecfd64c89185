"""Marks in place of scores and features that the check of a setting found impossible: a reason, and no tensors."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from proponent.config.specifications.method_specs import AttributeSpec
from proponent.config.specifications.restore import parse
from proponent.config.specifications.step_spec import SettingSpec
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


def write_mark(job: Job[SettingSpec, Any], reason: str, *, for_memory: bool = False) -> None:
    """Write a file without tensors, and the reason in its header, in the manifest and on the log.

    Args:
        job: job that makes the mark.
        reason: sentence without its subject.
        for_memory: whether the reason is ``compute.memory_mib``, which is part of the job's key.
    """
    print(f"left out: {reason}", file=sys.stderr)
    job.write_arrays(job.artefact, {}, {"setting": job.spec.setting, "key": job.key, "left_out": reason})
    job.details |= {"left_out": reason, "left_out_for_memory": for_memory}


def methods_left_out(root: Path, setting: str, unusable: Mapping[str, str]) -> dict[str, str]:
    """Return the reason by method of the planned run that will be left out, before anything is trained.

    The methods are those that have a key file: the check of a setting does not depend on them.

    Args:
        root: the checkout.
        setting: name of the setting.
        unusable: reason by use that the model does not allow.
    """
    found: dict[str, str] = {}
    planned = importlib.import_module("proponent.steps.io.planned_memory")  # decides no number
    for file in sorted((root / f"results/{setting}/keys/scores").glob("*.json")):
        content = read_json(file)
        if content.get("step") != AttributeSpec.step:
            continue
        spec = parse(AttributeSpec, content["spec"])
        reasons = [unusable[use] for use in spec.uses if use in unusable]
        reason = reasons[0] if reasons else planned.refusal(root, spec)
        if reason:
            found[spec.method] = reason
    return found

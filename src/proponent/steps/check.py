"""``proponent check``: try a setting's model, data and methods in seconds, before anything is trained."""

from __future__ import annotations

from proponent.config.specifications.step_inputs import DataInputs
from proponent.config.specifications.step_specs import CheckSpec
from proponent.steps.io.job import Job


def run(job: Job[CheckSpec, DataInputs]) -> None:
    """Write ``check.json``: the methods that cannot run on this model, with the reason of each."""
    job.write_json(job.artefact, {"setting": job.spec.setting, "left_out": {}})

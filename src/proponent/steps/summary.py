"""``proponent summary``: one setting's figures in the two forms that DVC compares between revisions."""

from __future__ import annotations

import json

from proponent.config.step_specs import SummaryInputs, SummarySpec
from proponent.publish import leaderboard
from proponent.steps.io.job import Job
from proponent.store.files import read_json


def run(job: Job[SummarySpec, SummaryInputs]) -> None:
    """Write ``results/summaries/S.json`` (metric by method, for ``dvc metrics``) and ``S.csv`` (for ``dvc plots``)."""
    table = leaderboard.by_method([read_json(job.read(path)) for path in job.inputs.metrics.values()])
    job.write_bytes(
        job.artefact.removesuffix(".json") + ".csv", leaderboard.to_csv(table.reset_index()).encode()
    )
    figures = {method: row.dropna().to_dict() for method, row in table.iterrows()}
    job.write_bytes(job.artefact, (json.dumps(figures, indent=1) + "\n").encode())

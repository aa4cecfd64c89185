"""``proponent overview``: one figure of all settings."""

from __future__ import annotations

from proponent.config.specifications.step_inputs import OverviewInputs
from proponent.config.specifications.table_specs import OverviewSpec
from proponent.publish.figures import overview_figure as overview
from proponent.publish.figures.style import render
from proponent.steps.io.job import Job
from proponent.steps.io.rankings import load_ranking


def run(job: Job[OverviewSpec, OverviewInputs]) -> None:
    """Write ``results/figures/overview.svg`` and the same figure as PNG from the summaries of all settings."""
    summaries = sorted(job.inputs.summaries.items())
    rankings = [load_ranking(job, setting, summary) for setting, summary in summaries]
    figure = overview.draw(rankings, job.spec.failed)
    job.write_bytes("results/figures/overview.png", render(figure, "png", "leaderboard"))
    job.write_bytes(job.artefact, render(figure, "svg", "leaderboard"))

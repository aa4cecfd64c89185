"""``proponent overview``: one figure of all settings."""

from __future__ import annotations

import pandas as pd

from proponent.config.step_specs import OverviewInputs, OverviewSpec
from proponent.publish.figures import overview_figure as overview
from proponent.publish.figures.style import render
from proponent.steps.io.job import Job


def run(job: Job[OverviewSpec, OverviewInputs]) -> None:
    """Write ``results/figures/overview.svg``, and a PNG beside it."""
    leaderboard = job.read(job.inputs.leaderboard)
    figure = overview.draw(pd.read_csv(leaderboard), pd.read_csv(leaderboard.with_name("comparisons.csv")))
    job.write_bytes("results/figures/overview.png", render(figure, "png", "leaderboard"))
    job.write_bytes(job.artefact, render(figure, "svg", "leaderboard"))

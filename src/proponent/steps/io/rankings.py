"""Files in which the step ``summary`` stores a setting's leaderboard, and their readers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from proponent.errors import UserError
from proponent.publish.ranking import Ranking
from proponent.steps.io.job import Job
from proponent.store.files import read_json


def ranking_path(setting: str) -> str:
    """Return the path of a setting's values, costs and ranks by method."""
    return f"results/{setting}/leaderboard/ranking.json"


def comparisons_path(setting: str) -> str:
    """Return the path of a setting's paired comparisons."""
    return f"results/{setting}/leaderboard/comparisons.csv"


def read_ranking(root: Path, setting: str) -> Ranking:
    """Read the leaderboard of one setting.

    Raises:
        UserError: the setting has not been summarised yet.
    """
    path = root / ranking_path(setting)
    if not path.exists():
        raise UserError(
            f"{ranking_path(setting)}: not made yet; run snakemake results/summaries/{setting}.json"
        )
    return Ranking(**read_json(path))


def load_ranking(job: Job[Any, Any], setting: str, summary: str) -> Ranking:
    """Verify a summary among the inputs of a job, and read the leaderboard that is part of it."""
    job.read(summary)
    return read_ranking(job.root, setting)

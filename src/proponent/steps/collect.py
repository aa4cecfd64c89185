"""``proponent collect``: the leaderboard and the paired comparisons of all settings, for programs and for people."""

from __future__ import annotations

from pathlib import Path

from proponent.config.specifications.step_inputs import CollectInputs
from proponent.config.specifications.table_specs import CollectSpec
from proponent.errors import UserError
from proponent.publish.leaderboard import COLUMNS, COMPARISON_COLUMNS, join_csv, leaderboard, to_csv
from proponent.publish.leaderboard_tables import markdown, terminal
from proponent.publish.ranking import Ranking, without_scores
from proponent.steps.io.job import Job
from proponent.steps.io.rankings import comparisons_path, load_ranking, ranking_path, read_ranking
from proponent.store.files import read_json


def run(job: Job[CollectSpec, CollectInputs]) -> None:
    """Write ``leaderboard.csv``, ``comparisons.csv`` and ``leaderboard.md`` from the summaries of all settings."""
    spec = job.spec
    summarised = sorted(job.inputs.summaries)
    rankings = {setting: load_ranking(job, setting, job.inputs.summaries[setting]) for setting in summarised}
    for setting, why in spec.failed.items():
        documents = [without_scores(setting, method, failed=why) for method in spec.methods[setting]]
        rankings[setting] = Ranking(setting, documents, {})
    rankings = dict(sorted(rankings.items()))
    documents = [document for ranking in rankings.values() for document in ranking.documents]
    comparisons = [
        (job.root / comparisons_path(setting)).read_text(encoding="utf-8") for setting in summarised
    ]
    header = to_csv([], COMPARISON_COLUMNS)
    job.write_bytes("results/comparisons.csv", join_csv([header, *comparisons]).encode())
    job.write_bytes("results/leaderboard.md", markdown(rankings.values()).encode())
    job.write_bytes(job.artefact, to_csv(leaderboard(documents), COLUMNS).encode())


def show(root: Path, setting: str | None = None) -> None:
    """Print the leaderboard of ``setting``, or of every setting of the last run that has been summarised.

    Raises:
        UserError: the setting has not been summarised yet, or none has.
    """
    from rich.console import Console

    from proponent.config.load import nearest

    settings = _planned(root)
    if setting is not None:
        if settings and setting not in settings:
            raise UserError(f"--setting: the last run has no setting '{setting}'{nearest(setting, settings)}")
        settings = [setting]
    finished = [name for name in settings if name == setting or (root / ranking_path(name)).exists()]
    if not finished:
        raise UserError("results/leaderboard.csv: not made yet; run snakemake")
    console = Console()
    for name in finished:
        table = terminal(read_ranking(root, name))
        if table:
            console.print(table)
    missing = [name for name in settings if name not in finished]
    if missing:
        console.print(f"Not finished yet: {', '.join(missing)}")
    if (root / "results/leaderboard.csv").exists():
        console.print(
            "Figures: results/figures/   Tables: results/leaderboard.md, .csv, results/comparisons.csv"
        )


def _planned(root: Path) -> list[str]:
    """Return the settings that the last run collects; the key file is written before its jobs start."""
    key_file = root / "results/keys/leaderboard.csv.json"
    return list(read_json(key_file)["spec"]["methods"]) if key_file.exists() else []

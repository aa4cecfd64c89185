"""``proponent collect``: the leaderboard, for programs and for people, and who can be told apart from whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from proponent.config.step_specs import CollectInputs, CollectSpec
from proponent.errors import UserError
from proponent.metrics.compare import compare_all
from proponent.publish import leaderboard
from proponent.steps.io.job import Job
from proponent.store.files import read_json


def run(job: Job[CollectSpec, CollectInputs]) -> None:
    """Write ``leaderboard.csv``, ``comparisons.csv`` and ``leaderboard.md``."""
    documents = [read_json(job.read(path)) for path in job.inputs.metrics]
    rows, ranks = compare_all(documents)
    tables = {
        "results/comparisons.csv": leaderboard.to_csv(leaderboard.comparisons(rows)),
        "results/leaderboard.md": leaderboard.markdown(documents, ranks),
        job.artefact: leaderboard.to_csv(leaderboard.leaderboard(documents)),
    }
    for path, text in tables.items():
        job.write_bytes(path, text.encode())


def show(root: Path) -> None:
    """Print the leaderboard that was collected last.

    Raises:
        UserError: there is none.
    """
    key_file = root / "results/keys/leaderboard.csv.json"
    if not (root / "results/leaderboard.csv").exists() or not key_file.exists():
        raise UserError("results/leaderboard.csv: not made yet; run snakemake")
    documents: list[dict[str, Any]] = [read_json(root / path) for path in read_json(key_file)["input_keys"]]
    _, ranks = compare_all(documents)
    console = Console()
    for table in leaderboard.terminal(documents, ranks):
        console.print(table)
    console.print("Figures: results/figures/   Tables: results/leaderboard.md, .csv, results/comparisons.csv")

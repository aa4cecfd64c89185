"""``proponent summary``: the leaderboard of one setting, and its values in the two forms that DVC compares."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from proponent.config.specifications.step_inputs import SummaryInputs
from proponent.config.specifications.table_specs import SummarySpec
from proponent.metrics.compare import compare, ranks
from proponent.publish.leaderboard import COMPARISON_COLUMNS, Row, by_method, to_csv
from proponent.publish.ranking import Document, Ranking, without_scores
from proponent.steps.io.job import Job
from proponent.steps.io.rankings import comparisons_path, ranking_path
from proponent.store.files import read_json


def run(job: Job[SummarySpec, SummaryInputs]) -> None:
    """Write the ranking and the comparisons of all methods, and ``results/summaries/S.json`` and ``S.csv``.

    The last two hold the value of each metric by method, for ``dvc metrics`` and ``dvc plots``.
    """
    setting = job.spec.setting
    documents = [read_json(job.read(path)) for path in job.inputs.metrics.values()]
    documents += [without_scores(setting, method, left_out=why) for method, why in job.spec.left_out.items()]
    documents += [without_scores(setting, method, failed=why) for method, why in job.spec.failed.items()]
    if job.spec.missing:
        documents = [{**document, "missing": job.spec.missing} for document in documents]
    comparisons, ranking = rank(setting, documents)
    job.write_json(ranking_path(setting), asdict(ranking))
    job.write_bytes(comparisons_path(setting), to_csv(comparisons, COMPARISON_COLUMNS).encode())
    metrics, rows = by_method(documents)
    values = {row["method"]: {name: row[name] for name in metrics if name in row} for row in rows}
    job.write_bytes(f"results/summaries/{setting}.csv", to_csv(rows, ["method", *metrics]).encode())
    job.write_bytes(job.artefact, (json.dumps(values, indent=1) + "\n").encode())


def rank(setting: str, documents: Sequence[Document]) -> tuple[list[Row], Ranking]:
    """Compare all methods of a setting on each metric, and rank them.

    Args:
        setting: name of the setting.
        documents: contents of ``results/S/metrics/M.json`` of this setting, in any order.

    Returns:
        One row per metric and pair of methods, and the ranking.
    """
    comparisons: list[Row] = []
    placed: dict[str, dict[str, int]] = {}
    for metric in sorted({name for document in documents for name in document["metrics"]}):
        entries = {
            document["method"]: document["metrics"][metric]
            for document in documents
            if metric in document["metrics"]
        }
        values = {method: entry["value"] for method, entry in entries.items()}
        pairs = compare(values, {method: entry["replicates"] for method, entry in entries.items()})
        comparisons += [{"setting": setting, "metric": metric, **asdict(pair)} for pair in pairs]
        placed[metric] = ranks(values, pairs)
    ordered = sorted(documents, key=lambda document: document["method"])
    return comparisons, Ranking(setting, [_abridged(document) for document in ordered], placed)


def _abridged(document: Document) -> dict[str, Any]:
    """Return a document without what a leaderboard does not show: replicates, values per query, the cost ledger."""
    remarks = {
        name: document[name] for name in ("left_out", "failed", "notes", "missing") if document.get(name)
    }
    return {
        **remarks,
        "setting": document["setting"],
        "method": document["method"],
        "metrics": {
            metric: {name: item for name, item in entry.items() if not isinstance(item, list)}
            for metric, entry in document["metrics"].items()
        },
        "cost": {name: item for name, item in document["cost"].items() if name != "ledger"},
    }

"""Ranking: the leaderboard of one setting as a value, which tables and figures read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

METRICS = {
    "lds": "LDS",
    "mislabel_auc": "Mislabel AUC",
    "loo": "LOO",
}
"""Metrics in the tables for people; methods are ordered by the first of them that the setting has."""

Document = Mapping[str, Any]
"""Content of ``results/S/metrics/M.json``; a ranking does not need its replicates, values per query and cost ledger."""


@dataclass(frozen=True)
class Ranking:
    """Values, costs and ranks of all methods of one setting."""

    setting: str
    documents: Sequence[Document]
    """One document per method."""
    ranks: Mapping[str, Mapping[str, int]]
    """Rank by metric and method; methods that the data cannot distinguish share a rank."""

    @property
    def shown(self) -> list[str]:
        """Metrics that tables show, the one that orders the methods first."""
        return [metric for metric in METRICS if metric in self.ranks]

    def ordered(self) -> list[Document]:
        """Return the documents by descending value of the first shown metric; methods without a value come last."""
        leading = self.shown[0] if self.shown else ""
        return sorted(self.documents, key=lambda document: (-value(document, leading), document["method"]))

    def entries(self, metric: str) -> dict[str, Mapping[str, Any]]:
        """Return the entry of ``metric`` by method, for the methods that have it."""
        return {
            document["method"]: document["metrics"][metric]
            for document in self.documents
            if metric in document["metrics"]
        }


def value(document: Document, metric: str) -> float:
    """Return the value of a metric of one method, or minus infinity if the method does not have it."""
    entry = document["metrics"].get(metric)
    return float("-inf") if entry is None else float(entry["value"])

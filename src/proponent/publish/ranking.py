"""Ranking: the leaderboard of one setting as a value, which tables and figures read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

METRICS = {
    "lds": "LDS",
    "mislabel_auc": "Mislabel AUC",
    "shortcut_auprc": "Shortcut AUPRC",
    "mixed_domain_auprc": "Domain AUPRC",
    "subclass_10": "Subclass",
    "duplicates_mrr": "Duplicates MRR",
    "mrr": "Facts MRR",
    "loo": "LOO",
    "counterfactual_drop": "Removal drop",
    "coreset_keep_best": "Coreset gain",
}
"""Metrics in the tables for people; methods are ordered by the first of them that the setting has."""

Document = Mapping[str, Any]
"""Content of ``results/S/metrics/M.json``; a ranking does not need its replicates, values per query and cost ledger.

The document of a method without scores has no metrics and the reason instead: ``left_out``, why the method cannot run on
the setting, or ``failed``, how its job ended. ``notes`` are lines about values that need an explanation, and ``missing`` has
the reason by metric that no method of the setting has, because its models cannot be trained again.
"""


@dataclass(frozen=True)
class Ranking:
    """Values, costs and ranks of all methods of one setting."""

    setting: str
    documents: Sequence[Document]
    """One document per method, including the methods without scores."""
    ranks: Mapping[str, Mapping[str, int]]
    """Rank by metric and method; methods that the data cannot distinguish share a rank."""

    @property
    def shown(self) -> list[str]:
        """Metrics that tables show, the one that orders the methods first."""
        return [metric for metric in METRICS if metric in self.ranks]

    def ordered(self) -> list[Document]:
        """Return the documents by descending value of the first shown metric; methods without scores come last."""
        leading = self.shown[0] if self.shown else ""
        return sorted(
            self.documents,
            key=lambda document: (-value(document, leading), not document["metrics"], document["method"]),
        )

    @property
    def notes(self) -> dict[str, str]:
        """Note by method, in the order of :meth:`ordered`, for the methods that have one."""
        return {document["method"]: text for document in self.ordered() if (text := note(document))}

    @property
    def methods_by_note(self) -> dict[str, list[str]]:
        """Methods by note: a job on which many methods depend gives all of them the same one."""
        found: dict[str, list[str]] = {}
        for method, text in self.notes.items():
            found.setdefault(text, []).append(method)
        return found

    @property
    def missing_by_reason(self) -> dict[str, list[str]]:
        """Metrics by reason, for the metrics that no method has because the setting cannot retrain its model."""
        found: dict[str, list[str]] = {}
        missing = {
            name: why for document in self.documents for name, why in document.get("missing", {}).items()
        }
        for metric, why in missing.items():
            found.setdefault(why, []).append(metric)
        return found

    @property
    def without_scores(self) -> dict[str, str]:
        """Reason by method, for the methods without scores."""
        return {document["method"]: note(document) for document in self.ordered() if reason(document)}

    def entries(self, metric: str) -> dict[str, Mapping[str, Any]]:
        """Return the entry of ``metric`` by method, for the methods that have it."""
        return {
            document["method"]: document["metrics"][metric]
            for document in self.documents
            if metric in document["metrics"]
        }


def without_scores(setting: str, method: str, **reason: str) -> Document:
    """Return the document of a method without scores, with its reason as ``left_out`` or ``failed``."""
    return {"setting": setting, "method": method, "metrics": {}, "cost": {}, **reason}


def value(document: Document, metric: str) -> float:
    """Return the value of a metric of one method, or minus infinity if the method does not have it."""
    entry = document["metrics"].get(metric)
    return float("-inf") if entry is None else float(entry["value"])


def reason(document: Document) -> str:
    """Return why a method has no scores on a setting, or an empty string if it has some."""
    if "left_out" in document:
        return f"left out: {document['left_out']}"
    return str(document.get("failed", ""))


def note(document: Document) -> str:
    """Return the reason why a method has no scores, or the notes about its values, in one line; empty without any."""
    return reason(document) or "; ".join(document.get("notes", ()))


def shown_rank(ranks: Mapping[str, int], method: str) -> str:
    """Return the rank of a method for people: ``3``, or ``3=`` if it is shared; a dash if the method has none."""
    rank = ranks.get(method)
    if rank is None:
        return "–"
    return f"{rank}=" if list(ranks.values()).count(rank) > 1 else str(rank)

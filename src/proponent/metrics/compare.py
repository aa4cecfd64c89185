"""Which methods of a setting the data can tell apart, and the ranks that follow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import norm

from proponent.metrics.estimate import LEVEL, Array, interval

ALPHA = 1 - LEVEL


@dataclass(frozen=True)
class Comparison:
    """Two methods on one metric of one setting; the first is the one with the larger value."""

    method_a: str
    method_b: str
    difference: float
    """Value of a minus value of b, never negative."""
    ci_low: float
    ci_high: float
    p_holm: float
    """Two-sided p-value of no difference, corrected for all pairs of the metric and setting."""
    tied: bool


def compare(values: Mapping[str, float], replicates: Mapping[str, Array]) -> list[Comparison]:
    """Compare every pair of methods on the same resamples.

    The interval is that of the paired differences (:func:`~proponent.metrics.estimate.interval`), for one
    pair. The p-value is that of the difference over its bootstrap standard error (a share of replicates on
    the other side of 0 could not get below 1 / (B + 1), which Holm's correction over a hundred pairs would
    make 1). Two methods are *tied* unless both tell them apart: the interval lies beyond 0 and p after Holm
    is below .05.

    Args:
        values: value of the metric by method.
        replicates: (B,) replicates by method, of the same resamples.

    Returns:
        One comparison a pair; methods in descending order of value, equal values in order of name.

    Raises:
        ValueError: methods with different numbers of replicates.
    """
    if len({len(replicates[method]) for method in values}) > 1:
        raise ValueError(f"replicates of {sorted(values)} are of different resamples")
    ordered = sorted(values, key=lambda method: (-values[method], method))
    pairs = list(combinations(ordered, 2))
    differences = [values[a] - values[b] for a, b in pairs]
    spreads = [np.asarray(replicates[a]) - np.asarray(replicates[b]) for a, b in pairs]
    corrected = holm([_p_value(d, s) for d, s in zip(differences, spreads, strict=True)])
    comparisons = []
    for (a, b), difference, spread, p in zip(pairs, differences, spreads, corrected, strict=True):
        low, high = interval(difference, spread)
        comparisons.append(Comparison(a, b, difference, low, high, p, tied=low <= 0 or p >= ALPHA))
    return comparisons


def ranks(values: Mapping[str, float], comparisons: Sequence[Comparison]) -> dict[str, int]:
    """Return the rank of each method; one that the data cannot tell from a better one shares its rank.

    Go down the methods in descending order of value. The first leads rank 1. Each next one shares the rank of
    the current leader if it is tied with that leader; otherwise it becomes the leader of a new rank, which is
    its place in the order (1, 1, 1, 4, ...). So ranks never rise with the value, and a tie is always a tie
    with the best of the group.
    """
    tied = {(c.method_a, c.method_b) for c in comparisons if c.tied}
    result: dict[str, int] = {}
    leader = ""
    for place, method in enumerate(sorted(values, key=lambda m: (-values[m], m)), start=1):
        if (leader, method) in tied:
            result[method] = result[leader]
        else:
            result[method], leader = place, method
    return result


def compare_all(
    documents: Iterable[Mapping[str, Any]],
) -> tuple[list[dict[str, Any]], dict[str, dict[str, dict[str, int]]]]:
    """Compare all methods of each setting on each metric.

    Args:
        documents: contents of ``results/S/metrics/M.json``, in any order.

    Returns:
        The comparisons as rows with ``setting`` and ``metric`` in front, and the ranks by setting, metric and
        method.
    """
    groups: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for document in documents:
        for metric, entry in document["metrics"].items():
            groups.setdefault((document["setting"], metric), {})[document["method"]] = entry
    rows: list[dict[str, Any]] = []
    placed: dict[str, dict[str, dict[str, int]]] = {}
    for (setting, metric), entries in sorted(groups.items()):
        values = {method: entry["value"] for method, entry in entries.items()}
        pairs = compare(
            values, {method: np.asarray(entry["replicates"]) for method, entry in entries.items()}
        )
        rows += [{"setting": setting, "metric": metric, **asdict(pair)} for pair in pairs]
        placed.setdefault(setting, {})[metric] = ranks(values, pairs)
    return rows, placed


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for the size of the family (Holm 1979, step-down), in the same order."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return corrected.tolist()


def _p_value(difference: float, spread: Array) -> float:
    error = float(np.std(spread, ddof=1))
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * norm.sf(abs(difference) / error))

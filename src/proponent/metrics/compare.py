"""Paired comparisons of the methods of a setting, and their ranks with ties."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from proponent.metrics.estimate import LEVEL, Array, interval

ALPHA = 1 - LEVEL
"""Level of significance."""


@dataclass(frozen=True)
class Comparison:
    """Comparison of two methods on one metric of one setting; the first has the larger value."""

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

    The interval is that of the paired differences (:func:`~proponent.metrics.estimate.interval`), not corrected
    for the number of pairs. The p-value is computed from the difference divided by its bootstrap standard error:
    the share of replicates on the other side of 0 cannot be smaller than 1 / (B + 1), which becomes 1 after
    Holm's correction for a thousand pairs. Two methods are *tied* unless the interval excludes 0 and the
    corrected p-value is below .05.

    Args:
        values: value of the metric by method.
        replicates: (B,) replicates by method, computed on the same resamples.

    Returns:
        One comparison per pair; methods in descending order of value, equal values in order of name.

    Raises:
        ValueError: methods have different numbers of replicates.
    """
    if len({len(replicates[method]) for method in values}) > 1:
        raise ValueError(f"replicates of {sorted(values)} come from different resamples")
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
    """Return the rank of each method; methods that the data cannot distinguish share a rank.

    Methods are visited in descending order of value. The first one leads rank 1. Each further method shares the
    rank of the current leader if it is tied with that leader; otherwise it becomes the leader of a new rank, which
    is its place in the order (1, 1, 1, 4, ...). A method with a larger value therefore never has a worse rank, and
    every member of a shared rank is tied with the best method of that rank.
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


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for the size of the family (Holm, 1979, step-down), in the same order.

    Written out because statsmodels, which has it, is not needed for anything else.
    """
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
    return math.erfc(
        abs(difference) / error / math.sqrt(2)
    )  # two-sided normal tail; importing scipy.stats takes a second

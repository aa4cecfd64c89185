"""Deletion curves: the score of a pair while the features of an example are replaced by a baseline, the strongest first.

Scores are divided so that a curve starts at 1, the score of the example, and ends at 0, that of the baseline. The smaller
the area under the curve, the better the order of the features explains the score (Samek et al. 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from proponent.explanations.pair_scores import Score

FRACTIONS = tuple(np.linspace(0.0, 1.0, 21).tolist())
"""Fractions of the features that are replaced."""


def deletion_curve(
    score: Score,
    features: Tensor,
    baseline: Tensor,
    order: Tensor,
    *,
    embedded: bool = False,
    fractions: Sequence[float] = FRACTIONS,
) -> NDArray[np.float64]:
    """Return the normalised score after replacing the first features of an order, (n_fractions,).

    Args:
        score: function from features (m, ...) to scores (m,).
        features: (1, ...) features of the example.
        baseline: (1, ...) features that replace them.
        order: (n_features,) positions in the flattened features, or of tokens, in the order of their replacement.
        embedded: whether the last axis of the features is that of an embedding, which is replaced as a whole.
        fractions: fractions of the features that are replaced.
    """
    units = features[..., 0] if embedded else features
    rank = torch.empty(units.numel(), dtype=torch.long)
    rank[order] = torch.arange(units.numel())
    counts = torch.tensor([round(fraction * units.numel()) for fraction in fractions])
    replaced = (rank[None] < counts[:, None]).view(len(fractions), *units.shape[1:]).to(features.device)
    if embedded:
        replaced = replaced[..., None]
    with torch.no_grad():
        ends = score(torch.cat([features, baseline])).double()
        values = score(torch.where(replaced, baseline, features)).double()
    difference = ends[0] - ends[1]
    curve: NDArray[np.float64] = ((values - ends[1]) / difference).cpu().numpy()
    return curve


def order_of(values: Tensor, *, falling: bool = True) -> Tensor:
    """Return the positions of attributed features, those that raise the score most first.

    Args:
        values: contributions of the features.
        falling: whether the score of the example is above that of the baseline; otherwise those that lower it are first.
    """
    return torch.argsort(values.flatten().cpu(), descending=falling, stable=True)


@dataclass(frozen=True)
class DeletionTest:
    """Comparison of deletion in the order of attributed features with deletion in random order.

    Attributes:
        area: mean area under the curves in the order of the attribution.
        random_area: mean area under the curves in random orders.
        difference: ``random_area - area``; positive if the attribution finds the features that matter.
        ci_low: lower end of the 95 % bootstrap interval of the difference, over pairs.
        ci_high: upper end of the interval.
        pairs: number of pairs.
    """

    area: float
    random_area: float
    difference: float
    ci_low: float
    ci_high: float
    pairs: int


def compare_areas(areas: Sequence[float], random_areas: Sequence[float], seed: int = 0) -> DeletionTest:
    """Compare the areas under the curves of several pairs, paired.

    Args:
        areas: area of each pair, in the order of the attribution.
        random_areas: mean area of each pair over random orders.
        seed: seed of the bootstrap.
    """
    from scipy.stats import bootstrap

    own, random = np.asarray(areas), np.asarray(random_areas)
    difference = random - own
    interval = bootstrap(
        (difference,), np.mean, rng=np.random.default_rng(seed), method="percentile"
    ).confidence_interval
    return DeletionTest(
        float(own.mean()),
        float(random.mean()),
        float(difference.mean()),
        float(interval.low),
        float(interval.high),
        len(own),
    )


def area_under(curve: NDArray[np.float64], fractions: Sequence[float] = FRACTIONS) -> float:
    """Return the area under a deletion curve."""
    return float(np.trapezoid(curve, fractions))

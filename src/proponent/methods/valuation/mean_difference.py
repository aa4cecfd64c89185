"""Differences of means over retrainings: empirical influence and the Banzhaf value.

    scores[q, i] = mean(f(q; S) : i in S) - mean(f(q; S) : i not in S)

For subsets S of any fraction this is the empirical influence (Feldman & Zhang 2020, "What neural networks memorize and
why"). If each example is kept with probability 1/2 it is the Banzhaf value of the game v(S) = f(q; S), estimated by
maximum sample reuse: every retraining serves every example (Wang & Jia 2023, "Data Banzhaf"). Masks of a fixed size,
half of the examples, differ from that by terms of order 1/n, which are the same for all examples of an additive game.

Shapes: (n_query, n_train). Cost: one product of masks and targets, in addition to the retrainings. The error of a score
decreases with the square root of the number of retrainings, and starts at the effect of all other examples together:
with a hundred retrainings the scores of single examples are mostly noise.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.methods.shared.needs import Retrainings
from proponent.methods.shared.retrained_targets import varying_targets

_HALF = 0.02
"""Largest deviation of the share of kept examples from 1/2 for a Banzhaf value."""


def attribute(retrainings: Retrainings, *, value: Literal["influence", "banzhaf"] = "influence") -> Tensor:
    """Return the differences of means; an example that all retrainings keep, or none, scores 0.

    Args:
        retrainings: retrainings of the ``fit`` design.
        value: interpretation of the difference; ``banzhaf`` requires random halves.

    Raises:
        UserError: a Banzhaf value is requested for subsets that are not halves.
    """
    kept = retrainings.masks.to(retrainings.targets)
    share = kept.mean().item()
    if value == "banzhaf" and abs(share - 0.5) > _HALF:
        raise UserError(
            f"the Banzhaf value is an average over random halves, but the retrainings keep {share:.2f} of the "
            "examples: set the fit design's fraction to 0.5, or use empirical-influence"
        )
    # centred first: sums of large targets would lose the digits of a small difference
    targets = varying_targets(retrainings.targets)
    centred = targets - targets.mean(0)
    with_it = kept.sum(0)
    without = len(kept) - with_it
    inside = kept.T @ centred / with_it.clamp_min(1)[:, None]
    outside = -(kept.T @ centred) / without.clamp_min(1)[:, None]
    both = ((with_it > 0) & (without > 0))[:, None]
    return torch.where(both, inside - outside, 0.0).T

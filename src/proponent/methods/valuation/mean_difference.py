"""Differences of means over retrainings: empirical influence and the Banzhaf value.

    scores[q, i] = mean(f(q; S) : i in S) - mean(f(q; S) : i not in S)

With subsets S of any fraction this is the empirical influence (Feldman & Zhang 2020, "What neural networks
memorize and why"). With each example kept with probability 1/2 it is the Banzhaf value of the game v(S) = f(q; S)
by maximum sample reuse: every retraining serves every example (Wang & Jia 2023, "Data Banzhaf"). Masks of a fixed
size, half of the examples, differ from that by terms of order 1/n, the same for all examples where the game is
additive.

Shapes: (n_query, n_train). Cost: one product of masks and targets; the retrainings are what costs. The error of a
score falls with the square root of the number of retrainings only, and is as large as the effect of all other
examples together: with a hundred retrainings it is noise for single examples.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.methods.shared.needs import Retrainings

_HALF = 0.02
"""How far the share of kept examples may be from 1/2 for a Banzhaf value."""


def attribute(retrainings: Retrainings, *, value: Literal["influence", "banzhaf"] = "influence") -> Tensor:
    """Return the differences of means; an example that all retrainings keep, or none, scores 0.

    Args:
        retrainings: of the ``fit`` design.
        value: what it is taken for; ``banzhaf`` insists on halves.

    Raises:
        UserError: a Banzhaf value is asked of subsets that are not halves.
    """
    kept = retrainings.masks.to(retrainings.targets)
    share = kept.mean().item()
    if value == "banzhaf" and abs(share - 0.5) > _HALF:
        raise UserError(
            f"the Banzhaf value is an average over random halves, and the retrainings keep {share:.2f} of the "
            "examples: set the fit design's fraction to 0.5, or use empirical-influence"
        )
    # centred first: sums of large targets would lose the digits of a small difference
    centred = retrainings.targets - retrainings.targets.mean(0)
    with_it = kept.sum(0)
    without = len(kept) - with_it
    inside = kept.T @ centred / with_it.clamp_min(1)[:, None]
    outside = -(kept.T @ centred) / without.clamp_min(1)[:, None]
    both = ((with_it > 0) & (without > 0))[:, None]
    return torch.where(both, inside - outside, 0.0).T

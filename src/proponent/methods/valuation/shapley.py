"""Shapley values of the examples by Monte Carlo over permutations, and Beta Shapley values.

(Ghorbani & Zou 2019, "Data Shapley"; Kwon & Zou 2022, "Beta Shapley".)

Example i is worth what it adds to the game v(S) = f(q; S) when it joins those before it in a random order:

    phi_i = sum_j weight_j * mean of v(S + i) - v(S) over orders in which i is the j-th,
    weight_j = C(n-1, j-1) B(j + beta - 1, n - j + alpha) / B(alpha, beta)

alpha = beta = 1 weighs all j alike: Shapley. alpha > beta puts weight on small S, where an example still makes a
difference, alpha < beta on large S.

An order is retrained at some prefixes only, and what a *block* of examples between two prefixes adds is shared
equally among them. For blocks of one that is the published estimator. For larger ones the value of an additive game
is drawn to the mean of all examples, by the same factor for each, so the ranking stays, and the rest of the block is
noise. Examples of the shortest prefix get nothing in that order, since there is no model of no examples.

Truncation (``tolerance``): once a prefix is within that share of v(all) - v(shortest prefix) of v(all), everything
behind it in that order counts as 0. Stopping (``convergence``): orders are used in rounds of 100, until a round
moves the values by less than that share. Retrainings are planned before any of them is seen, here, so that they can
be trained side by side; truncation and stopping reduce noise and work, not their number.

Shapes: (n_query, n_train). Cost: one look-up an order; the retrainings are what costs. The error of a value falls
with the square root of the number of orders, from that of what a whole block adds.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from proponent.methods.shared.needs import Permutations

ROUND = 100
"""Orders between two looks at whether the values still move."""


def attribute(
    permutations: Permutations,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    tolerance: float = 0.01,
    convergence: float = 0.05,
) -> Tensor:
    """Return the values of each example for each query.

    Args:
        permutations: nested subsets of the ``permutations`` design.
        alpha: with ``beta``, where the weight lies (see above).
        beta: see ``alpha``.
        tolerance: of truncation; 0 truncates nothing.
        convergence: stop when a round of 100 orders changes the values by less than this share of their sum of
            absolute values.
    """
    masks, targets = permutations.masks, permutations.targets
    n_orders, _, n = masks.shape
    sizes = masks[0].sum(1)
    weight_of_block = _block_weights(n, sizes, alpha, beta).to(targets)
    complete = targets[:, -1].mean(0)
    enough = tolerance * (complete - targets[:, 0].mean(0)).abs()
    total = targets.new_zeros(n, targets.shape[2])
    weight = targets.new_zeros(n, 1)
    previous = total
    for order in range(n_orders):
        added = targets[order].diff(dim=0) / sizes.diff()[:, None]
        # a block counts unless the prefix before it, or one before that, was good enough
        short = (targets[order, :-1] - complete).abs() >= enough
        added = added * short.cumprod(0)
        joined = (~masks[order]).sum(0)  # number of prefixes without the example: its block, from 1
        # block 0 is the shortest prefix, which is worth nothing
        total += torch.cat([torch.zeros_like(added[:1]), weight_of_block[:, None] * added])[joined]
        weight += torch.cat([weight_of_block.new_zeros(1), weight_of_block])[joined][:, None]
        if (order + 1) % ROUND == 0:
            values = total / weight.clamp_min(torch.finfo(weight.dtype).tiny)
            if (values - previous).abs().sum() < convergence * values.abs().sum():
                break
            previous = values
    return (total / weight.clamp_min(torch.finfo(weight.dtype).tiny)).T


def _block_weights(n: int, sizes: Tensor, alpha: float, beta: float) -> Tensor:
    """Return the mean weight of the places in each block, (n_prefixes - 1,)."""
    j = torch.arange(1, n + 1, dtype=torch.float64)

    def log_beta(a: Tensor, b: Tensor) -> Tensor:
        return a.lgamma() + b.lgamma() - (a + b).lgamma()

    a, b, whole = (torch.tensor(value, dtype=torch.float64) for value in (alpha, beta, float(n)))
    choose = whole.lgamma() - j.lgamma() - (whole - j + 1).lgamma()
    weights = (choose + log_beta(j + b - 1, whole - j + a) - log_beta(a, b)).exp()
    ends = sizes.tolist()
    return torch.stack([weights[low:high].mean() for low, high in pairwise(ends)])

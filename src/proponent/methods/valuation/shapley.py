"""Shapley values of the training examples by Monte Carlo over permutations, and Beta Shapley values.

(Ghorbani & Zou 2019, "Data Shapley"; Kwon & Zou 2022, "Beta Shapley".)

The value of example i is its contribution to the game v(S) = f(q; S) when it joins the examples before it in a random
order:

    phi_i = sum_j weight_j * mean of v(S + i) - v(S) over orders in which i is the j-th,
    weight_j = C(n-1, j-1) B(j + beta - 1, n - j + alpha) / B(alpha, beta)

With alpha = beta = 1 all weights are equal: Shapley. With alpha > beta small S count more, where a single example still
makes a difference; with alpha < beta large S count more.

An order is retrained only at some prefixes, and the contribution of the *block* of examples between two prefixes is
divided equally among them. Blocks of one example give the published estimator. Larger blocks pull the values of an
additive game towards their mean, by the same factor for all examples, so that the ranking stays; the effect of the rest
of the block is noise. Examples of the shortest prefix get nothing in that order, because no model is trained on no
examples.

Truncation: once a prefix is within 1 % of v(all) - v(shortest prefix) of v(all), all later blocks of that order count
as 0. Stopping: orders are used in rounds of 100, until a round changes the values by less than 5 %. Both thresholds are
parts of the published estimator. All retrainings are planned in advance, so that they can be trained in lockstep;
truncation and stopping reduce noise but not the number of retrainings.

Shapes: (n_query, n_train). Cost: one look-up per order, in addition to the retrainings. The error of a value decreases
with the square root of the number of orders, and starts at the contribution of a whole block.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from proponent.methods.shared.needs import Permutations
from proponent.methods.shared.retrained_targets import varying_targets

_TRUNCATION = 0.01
_CONVERGENCE = 0.05
_ROUND = 100
"""Orders between two comparisons of the values."""

RANGES = {"alpha": "(0, inf)", "beta": "(0, inf)"}


def attribute(permutations: Permutations, *, alpha: float = 1.0, beta: float = 1.0) -> Tensor:
    """Return the value of each example for each query, (n_query, n_train).

    Args:
        permutations: retrainings on nested subsets, of the ``permutations`` design.
        alpha: first parameter of the weights above.
        beta: second parameter of the weights above.
    """
    return permutation_values(permutations, alpha, beta)


def permutation_values(
    permutations: Permutations,
    alpha: float = 1.0,
    beta: float = 1.0,
    truncation: float = _TRUNCATION,
    convergence: float = _CONVERGENCE,
) -> Tensor:
    """Return the values, (n_query, n_train), with other thresholds than those of the method.

    Args:
        permutations: retrainings on nested subsets.
        alpha: first parameter of the weights.
        beta: second parameter of the weights.
        truncation: distance to v(all) below which later blocks count as 0, in units of v(all) - v(shortest prefix);
            0 truncates nothing.
        convergence: change of the values in a round, in units of the sum of their absolute values, below which no
            further orders are used; 0 uses all orders.
    """
    masks = permutations.masks
    targets = varying_targets(permutations.targets.flatten(0, 1)).view_as(permutations.targets)
    sizes = masks[0].sum(1)
    weight_of_block = _block_weights(masks.shape[2], sizes, alpha, beta).to(targets)
    complete = targets[:, -1].mean(0)
    enough = truncation * (complete - targets[:, 0].mean(0)).abs()
    total = targets.new_zeros(masks.shape[2], targets.shape[2])
    weight = targets.new_zeros(masks.shape[2], 1)
    previous = torch.zeros_like(total)
    for order in range(len(masks)):
        added = targets[order].diff(dim=0) / sizes.diff()[:, None]
        # a block counts unless the prefix before it, or an earlier one, was within the truncation
        short = (targets[order, :-1] - complete).abs() >= enough
        added = added * short.cumprod(0)
        joined = (~masks[order]).sum(0)  # number of prefixes without the example: its block, from 1
        # block 0 is the shortest prefix, which counts as 0
        total += torch.cat([torch.zeros_like(added[:1]), weight_of_block[:, None] * added])[joined]
        weight += torch.cat([weight_of_block.new_zeros(1), weight_of_block])[joined][:, None]
        if (order + 1) % _ROUND == 0:
            values = _mean(total, weight)
            if (values - previous).abs().sum() < convergence * values.abs().sum():
                break
            previous = values
    return _mean(total, weight).T


def _mean(total: Tensor, weight: Tensor) -> Tensor:
    return total / weight.clamp_min(torch.finfo(weight.dtype).tiny)


def _block_weights(n: int, sizes: Tensor, alpha: float, beta: float) -> Tensor:
    """Return the mean weight of the positions in each block, (n_prefixes - 1,)."""
    j = torch.arange(1, n + 1, dtype=torch.float64)

    def log_beta(a: Tensor, b: Tensor) -> Tensor:
        return a.lgamma() + b.lgamma() - (a + b).lgamma()

    a, b, whole = (torch.tensor(value, dtype=torch.float64) for value in (alpha, beta, float(n)))
    choose = whole.lgamma() - j.lgamma() - (whole - j + 1).lgamma()
    weights = (choose + log_beta(j + b - 1, whole - j + a) - log_beta(a, b)).exp()
    return torch.stack([weights[low:high].mean() for low, high in pairwise(sizes.tolist())])

"""Selection of the models that are trained: the members of the ensemble, and the retrainings of a design.

The mask and the seeds of a retraining depend only on the setting's seed, the design's name, its row and its repeat, so
that a design with a larger count begins with the retrainings of a smaller one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from proponent.config.design_schema import DesignConfig, DesignKind, n_prefixes
from proponent.errors import UserError
from proponent.seeds import derive_seed


@dataclass(frozen=True, eq=False)
class Run:
    """One training: its seeds, and the part of the training set that it keeps.

    Attributes:
        init_seed: seed of the initial parameters.
        order_seed: seed of the order of the examples, and of dropout.
        mask: (n,) bool, True = kept; None keeps all examples.
        by_weight: whether left-out examples stay in their batches with weight 0, and a batch's loss is still
            divided by its whole size; otherwise batches are drawn from the kept examples only.
    """

    init_seed: int
    order_seed: int
    mask: Tensor | None = None
    by_weight: bool = False


def member_run(setting_seed: int, member: int) -> Run:
    """Return the training of an ensemble member: all examples, with seeds that no other training uses."""
    return Run(
        init_seed=derive_seed(setting_seed, "member", member, "init"),
        order_seed=derive_seed(setting_seed, "member", member, "order"),
    )


def mask_row(design: DesignConfig, name: str, n: int, setting_seed: int, row: int) -> Tensor:
    """Return one mask of a design, (n,) bool, True = kept.

    ``loo``: row 0 keeps all examples and each of the other rows leaves out another example of one seeded sample.
    ``permutations``: rows go through the prefixes of one random order, then of the next; the sizes are ``floor(k n /
    n_prefixes)``, k = 1 ... n_prefixes.
    ``complements``: rows 2k and 2k + 1 are two disjoint halves of ``floor(n / 2)``; if n is odd, one example is in neither.
    All other kinds: exactly ``floor(fraction * n)`` examples, drawn uniformly.

    Args:
        design: kind, count and fraction.
        name: name of the design; designs with different names draw independently.
        n: number of training examples.
        setting_seed: seed of the setting.
        row: index of the mask, 0 … ``n_rows(design) - 1``.

    Raises:
        UserError: the design does not fit a training set of ``n`` examples.
    """
    if design.kind is DesignKind.loo:
        if design.count > n:
            raise UserError(
                f"design {name}: count is {design.count} but there are only {n} examples to leave out"
            )
        mask = torch.ones(n, dtype=torch.bool)
        if row > 0:
            mask[_permutation(n, derive_seed(setting_seed, name, "left-out"))[row - 1]] = False
        return mask
    mask = torch.zeros(n, dtype=torch.bool)
    if design.kind is DesignKind.complements:
        pair, side = divmod(row, 2)
        halves = _permutation(n, derive_seed(setting_seed, name, "order", pair))
        mask[halves[side * (n // 2) : (side + 1) * (n // 2)]] = True
        return mask
    if design.kind is DesignKind.permutations:
        prefixes = n_prefixes(design)
        if prefixes > n:
            raise UserError(f"design {name}: {prefixes} prefixes of only {n} examples: raise the fraction")
        order, prefix = divmod(row, prefixes)
        joined = _permutation(n, derive_seed(setting_seed, name, "order", order))
        mask[joined[: (prefix + 1) * n // prefixes]] = True
        return mask
    # The small excess keeps 0.29 * 100 at 29 in spite of rounding.
    kept = math.floor(design.fraction * n + 1e-9)
    if not 0 < kept < n:
        raise UserError(
            f"design {name}: fraction {design.fraction} of {n} examples keeps {kept}; nothing to compare"
        )
    mask[_permutation(n, derive_seed(setting_seed, name, "mask", row))[:kept]] = True
    return mask


def run_at(design: DesignConfig, name: str, n: int, setting_seed: int, index: int) -> Run:
    """Return retraining ``index`` = row * seeds + repeat of a design.

    Seeds by kind:

    - ``subsets``, ``fit``, ``complements``: drawn anew for every row and repeat. The ground truth is the expected model.
    - ``subsets_fixed_seed``: repeat r has the initialisation and batches of ensemble member r, and drops by
      weight. The ground truth is that member.
    - ``permutations``: repeat r has the same seeds for all prefixes of an order, so that the effect of a block of
      examples is not hidden by a change of seed.
    - ``loo``: repeat r has the same seeds in every row, row 0 (nothing left out) included, and drops by
      weight. One example has far less effect than a seed, which cancels in the paired difference from row 0.

    Args:
        design: kind, count, fraction and number of seeds.
        name: name of the design.
        n: number of training examples.
        setting_seed: seed of the setting.
        index: index of the retraining, 0 … ``n_rows(design) * design.seeds - 1``.

    Raises:
        UserError: see :func:`mask_row`.
    """
    row, repeat = divmod(index, design.seeds)
    mask = mask_row(design, name, n, setting_seed, row)
    if design.kind is DesignKind.subsets_fixed_seed:
        member = member_run(setting_seed, repeat)
        return Run(member.init_seed, member.order_seed, mask, by_weight=True)
    paired = design.kind is DesignKind.loo
    order = row // n_prefixes(design) if design.kind is DesignKind.permutations else row
    where = (name, "repeat", repeat) if paired else (name, order, repeat)
    return Run(
        init_seed=derive_seed(setting_seed, *where, "init"),
        order_seed=derive_seed(setting_seed, *where, "order"),
        mask=mask,
        by_weight=paired,
    )


def _permutation(n: int, seed: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))

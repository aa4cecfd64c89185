"""Trainings on masks that are given, with the seeds of a metric's retrainings."""

from __future__ import annotations

from torch import Tensor

from proponent.seeds import derive_seed
from proponent.training.designs import Run


def masked_run(mask: Tensor, row: int, repeat: int, setting_seed: int, metric: str, by_weight: bool) -> Run:
    """Return the training on one mask.

    Args:
        mask: (n,) bool, True = kept.
        row: number of the mask, which draws seeds of its own; paired retrainings give -1, so that repeat r has the same
            seeds for every mask.
        repeat: number of the repeat.
        setting_seed: seed of the setting.
        metric: name of the metric; empty for paired retrainings, whose seeds all metrics share.
        by_weight: whether left-out examples stay in their batches with weight 0.
    """
    where = ("derived", metric, row, repeat)
    return Run(
        init_seed=derive_seed(setting_seed, *where, "init"),
        order_seed=derive_seed(setting_seed, *where, "order"),
        mask=mask,
        by_weight=by_weight,
    )

"""Metrics of attribution quality, one per module, and their shared statistics (ranks, resamples, ceilings, comparisons).

The modules of metrics can be called with plain arrays, so that scores which were computed elsewhere can be evaluated:
``proponent.metrics.lds(scores, masks, targets)``. Each call returns an :class:`~proponent.metrics.estimate.Estimate` with a
95 % interval.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proponent.metrics.lds import lds_of_arrays as lds
    from proponent.metrics.lds import lds_of_arrays as lds_fixed_seed
    from proponent.metrics.loo import loo_of_arrays as loo
    from proponent.metrics.mislabel import mislabel_of_arrays as mislabel

__all__ = ["lds", "lds_fixed_seed", "loo", "mislabel"]


def __getattr__(name: str) -> Any:
    """Import the module of a metric when it is first used."""
    if name in __all__:
        return importlib.import_module(f"proponent.metrics.{name}")
    raise AttributeError(f"module 'proponent.metrics' has no attribute '{name}'")

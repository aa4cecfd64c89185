"""Metrics of attribution quality, one per module, and their shared statistics (ranks, resamples, ceilings, comparisons).

The modules of metrics can be called with plain arrays, so that scores which were computed elsewhere can be evaluated:
``proponent.metrics.lds(scores, masks, targets)``. Each call returns an :class:`~proponent.metrics.estimate.Estimate` with a
95 % interval.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proponent.metrics.cardinality import cardinality_of_arrays as cardinality
    from proponent.metrics.duplicates import duplicates_of_arrays as duplicates
    from proponent.metrics.lds import lds_of_arrays as lds
    from proponent.metrics.lds import lds_of_arrays as lds_fixed_seed
    from proponent.metrics.loo import loo_of_arrays as loo
    from proponent.metrics.method_agreement import agreement_of_arrays as method_agreement
    from proponent.metrics.mislabel import mislabel_of_arrays as mislabel
    from proponent.metrics.mixed_domain import mixed_domain_of_arrays as mixed_domain
    from proponent.metrics.randomisation import randomisation_of_arrays as label_randomisation
    from proponent.metrics.randomisation import randomisation_of_arrays as randomisation
    from proponent.metrics.retrieval import retrieval_of_arrays as retrieval
    from proponent.metrics.same_class import same_class_of_arrays as same_class
    from proponent.metrics.shortcut import shortcut_of_arrays as shortcut
    from proponent.metrics.sparsity import sparsity_of_arrays as sparsity
    from proponent.metrics.stability import stability_of_arrays as stability
    from proponent.metrics.subclass import subclass_of_arrays as subclass

__all__ = [
    "cardinality",
    "duplicates",
    "label_randomisation",
    "lds",
    "lds_fixed_seed",
    "loo",
    "method_agreement",
    "mislabel",
    "mixed_domain",
    "randomisation",
    "retrieval",
    "same_class",
    "shortcut",
    "sparsity",
    "stability",
    "subclass",
]


def __getattr__(name: str) -> Any:
    """Import the module of a metric when it is first used."""
    if name in __all__:
        return importlib.import_module(f"proponent.metrics.{name}")
    raise AttributeError(f"module 'proponent.metrics' has no attribute '{name}'")

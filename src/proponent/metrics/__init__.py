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
    from proponent.metrics.cleaning_gain import cleaning_gain_of_arrays as cleaning_gain
    from proponent.metrics.coreset import coreset_of_arrays as coreset
    from proponent.metrics.counterfactual import counterfactual_of_arrays as counterfactual
    from proponent.metrics.data_support import data_support_of_arrays as data_support
    from proponent.metrics.duplicates import duplicates_of_arrays as duplicates
    from proponent.metrics.group_influence import group_influence_of_arrays as group_influence
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
    from proponent.metrics.tail_patch import tail_patch_of_arrays as tail_patch

__all__ = [
    "cardinality",
    "cleaning_gain",
    "coreset",
    "counterfactual",
    "data_support",
    "duplicates",
    "group_influence",
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
    "tail_patch",
]


def __getattr__(name: str) -> Any:
    """Import the module of a metric when it is first used."""
    if name in __all__:
        return importlib.import_module(f"proponent.metrics.{name}")
    raise AttributeError(f"module 'proponent.metrics' has no attribute '{name}'")

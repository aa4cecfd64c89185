"""Data support (Ilyas et al., 2022): the smallest number of examples whose removal changes a prediction."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from proponent.callable_modules import make_callable
from proponent.errors import UserError
from proponent.metrics.estimate import Array, Estimate, interval
from proponent.metrics.metric_inputs import MetricInputs, RemovalSearch
from proponent.metrics.plain_arrays import check_whole, numbers
from proponent.metrics.query_means import mean_estimate
from proponent.metrics.statistics import draw

NEEDS = ()
DESIGN = "support"
CONTROLS = ("random", "same_class")
"""Orders of removal with which the order by scores is compared."""


def evaluate(inputs: MetricInputs, *, resamples: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """Return ``data_support``: how few examples have to be removed to change predictions, in bits.

    For each query that is predicted correctly after training on all n examples, the smallest k is searched by bisection
    such that training without the k examples with the largest scores predicts it wrongly for at least half of the seeds.
    The value is the mean over queries of log2(n / k), and 0 for a query that no k up to the largest one changes: 1 is half
    of the training set, 10 a thousandth. Larger is better; the interval is over queries. Removing more examples does not
    always change a prediction that removing fewer did: k is *a* number that suffices, and the next smaller one that was
    tried does not.

    Args:
        inputs: searches in the orders of the method (``own``) and of the controls (``shared``).
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the methods of a setting.

    Returns:
        One estimate. Its extras: ``smallest`` (per query, k, or None if no k suffices) and ``share_changed``; per control,
        ``NAME`` and ``over_NAME`` (the value minus that of the control) with ``_low`` and ``_high``; ``n_queries``.

    Raises:
        UserError: the metric has no design, or no query is predicted correctly.
    """
    if not inputs.searches:
        raise UserError(
            "metric data-support: its YAML file has no 'design'; see configs/metrics/data-support.yaml"
        )
    own, shared = inputs.searches["own"], inputs.searches["shared"]
    chosen = own.predicted[own.rows["scores"]] > 0
    if not chosen.any():
        raise UserError(
            "metric data-support: no query is predicted correctly after training on all examples; raise design.queries"
        )
    bits = _bits(own, own.rows["scores"], chosen)
    joint = draw(1, len(bits), resamples, seed)
    values = joint.mean(bits)
    smallest = own.smallest[own.rows["scores"]][chosen]
    extras: dict[str, object] = {
        "smallest": [int(size) or None for size in smallest],
        "share_changed": float((smallest > 0).mean()),
        "n_queries": len(bits),
        "per_query": bits.tolist(),
    }
    for name in CONTROLS:
        if name in shared.rows:
            control = joint.mean(_bits(shared, shared.rows[name], chosen))
            for entry, sample in ((name, control), (f"over_{name}", values - control)):
                low, high = interval(sample[0], sample[1:])
                extras |= {entry: float(sample[0]), f"{entry}_low": low, f"{entry}_high": high}
    limits = (0.0, float(np.log2(own.n_train)))
    return {"data_support": Estimate.from_replicates(values[0], values[1:], bounds=limits, extras=extras)}


def _bits(search: RemovalSearch, rows: NDArray[np.integer], chosen: NDArray[np.bool_]) -> Array:
    """Return log2(n / k) per query, 0 where no k suffices."""
    smallest = search.smallest[rows][chosen].astype(np.float64)
    return np.asarray(np.where(smallest > 0, np.log2(search.n_train / np.maximum(smallest, 1)), 0.0))


def data_support_of_arrays(
    smallest: ArrayLike, n_train: int, *, resamples: int = 1000, seed: int = 0
) -> Estimate:
    """Return how few examples have to be removed to change predictions, for searches that were made elsewhere.

    Args:
        smallest: (n_query,) smallest number of examples whose removal changes the prediction of each query, and 0 where none
            was found.
        n_train: number of training examples.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the searches of several methods.

    Returns:
        The mean of log2(n_train / smallest) over queries, 0 where none was found; larger = better. Its 95 % bootstrap
        interval over queries.

    Raises:
        UserError: ``smallest`` has values that are not whole numbers from 0 to ``n_train``, or the wrong shape.

    Examples:
        >>> import proponent
        >>> proponent.metrics.data_support([16, 1, 0], n_train=64).value
        2.6666666666666665
    """
    check_whole(n_train, "n_train")
    found = numbers(smallest, "smallest")
    if found.ndim != 1 or not len(found) or not np.isin(found, np.arange(n_train + 1)).all():
        raise UserError(f"smallest: expected one whole number from 0 to {n_train} per query")
    bits = np.where(found > 0, np.log2(n_train / np.maximum(found, 1)), 0.0)
    limits = (0.0, float(np.log2(n_train)))
    return mean_estimate(bits, resamples, seed, limits, share_changed=float((found > 0).mean()))


make_callable(__name__, data_support_of_arrays)

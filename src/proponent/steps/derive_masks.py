"""``proponent derive-masks``: the masks on which a metric retrains, from the scores of a method or from the data."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from proponent.config.derived_designs import DerivedKind, GroupBy
from proponent.config.setting_schema import Inputs
from proponent.config.specifications.derived_specs import DeriveMasksSpec
from proponent.config.specifications.step_inputs import DeriveMasksInputs
from proponent.errors import UserError
from proponent.metrics.metric_inputs import MetricInputs, check_scores
from proponent.metrics.mislabel import suspicion
from proponent.seeds import derive_seed
from proponent.steps.io.control_orders import control_orders, shared_seed
from proponent.steps.io.job import Job
from proponent.steps.io.stored_arrays import NumpyData, load_numpy_data
from proponent.store.arrays import load_arrays
from proponent.training import derived_masks as derive

Masks = dict[str, NDArray[np.bool_]]
"""Masks (…, n_train) by the name of what they vary."""


def run(job: Job[DeriveMasksSpec, DeriveMasksInputs]) -> None:
    """Write ``masks`` (n_masks, n_train) bool, distinct, and ``rows_…``: the row of each combination that the kind varies.

    Of scores that are left out there are no masks. Names of rows, and their axes:

    - ``removal``: ``rows_scores`` (queries, shares); shared ``rows_random``, ``rows_same_class``, ``rows_similar``;
    - ``suspects``: ``rows_suspects`` (shares,); shared ``rows_random`` (orders, shares);
    - ``coreset``: ``rows_best`` and ``rows_worst`` (shares,); shared ``rows_random`` (orders, shares);
    - ``groups``: ``rows_classes``, ``_clusters`` or ``_sources`` (groups,);
    - ``fractions``: ``rows_fractions`` (shares, subsets).

    ``rows_all`` () is the row that keeps everything. For ``support`` there are orders of removal instead of masks.
    """
    spec = job.spec
    data = load_numpy_data(job)
    searches = spec.design.kind is DerivedKind.support
    if not spec.method:
        if searches:
            _write_orders(job, control_orders(spec, data, _queries(spec), similar=False))
        else:
            _write_masks(job, _from_data(job, data))
        return
    arrays = load_arrays(job.read(job.inputs.scores))
    if "scores" not in arrays:  # the method is left out
        job.write_arrays(job.artefact, _nothing(len(data.y_train)))
        return
    check_scores(arrays["scores"], len(data.y_query), len(data.y_train), job.inputs.scores)
    scores = arrays["scores"].astype(np.float64)
    if spec.design.kind is DerivedKind.suspects:
        _write_masks(job, _without_suspects(spec, scores, arrays.get("self_influence")))
    elif searches:
        _write_orders(job, {"scores": _orders_of_scores(spec, scores)})
    else:
        _write_masks(job, _from_scores(spec, scores, data))


def _write_masks(job: Job[DeriveMasksSpec, DeriveMasksInputs], named: Masks) -> None:
    """Write the distinct masks, and the row of each."""
    masks, rows = derive.named_rows(named)
    job.write_arrays(job.artefact, {"masks": masks, **rows}, _header(job))
    job.details["distinct_masks"] = len(masks)


def _header(job: Job[DeriveMasksSpec, DeriveMasksInputs]) -> dict[str, str]:
    return {"setting": job.spec.setting, "metric": job.spec.metric, "key": job.key}


def _nothing(n_train: int) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of a method without scores."""
    return {
        "masks": np.ones((0, n_train), dtype=bool),
        "orders": np.zeros((0, n_train), dtype=np.int32),
        "queries": np.zeros(0, dtype=np.int64),
    }


def _write_orders(job: Job[DeriveMasksSpec, DeriveMasksInputs], named: dict[str, list[derive.Order]]) -> None:
    """Write ``orders`` (n_orders, n_train) of removal, the row of the query of each (``queries``), and ``rows_NAME``."""
    spec = job.spec
    orders = np.concatenate([np.stack(own) for own in named.values()]).astype(np.int32)
    numbers = np.arange(len(orders)).reshape(len(named), -1)
    queries = spec.queries.tune + np.tile(np.arange(numbers.shape[1]), len(named))
    rows = {f"rows_{name}": numbers[index] for index, name in enumerate(named)}
    job.write_arrays(job.artefact, {"orders": orders, "queries": queries, **rows}, _header(job))


def _orders_of_scores(spec: DeriveMasksSpec, scores: NDArray[np.float64]) -> list[derive.Order]:
    """Return, for each query whose proponents are removed, the examples with the largest scores first."""
    tune = spec.queries.tune
    return [
        derive.descending(row, derive_seed(spec.seed, "ties", query))
        for query, row in enumerate(scores[tune : tune + _queries(spec)])
    ]


def _from_scores(spec: DeriveMasksSpec, scores: NDArray[np.float64], data: NumpyData) -> Masks:
    design, where = spec.design, _where(spec)
    if design.kind is DerivedKind.removal:
        orders = _orders_of_scores(spec, scores)
        return {"scores": derive.without_first(orders, design.shares, where)}
    # Tune queries choose the examples, so that the accuracy on test queries does not choose its own training set.
    values = scores[: spec.queries.tune].mean(axis=0)
    best = derive.descending(values, derive_seed(spec.seed, "ties"))
    labels = data.y_train if design.balanced and spec.has_classes else None
    return {
        name: derive.first_only(order, design.shares, labels, where)
        for name, order in (("best", best), ("worst", best[::-1]))
    }


def _without_suspects(
    spec: DeriveMasksSpec, scores: NDArray[np.float64], self_influence: NDArray[np.floating] | None
) -> Masks:
    # The mean score of a method without self-influence is that of the tune queries, for the reason given above.
    inputs = MetricInputs(scores[: spec.queries.tune], self_influence)
    badness, _ = suspicion(inputs, scores.shape[1])
    order = derive.descending(badness, derive_seed(spec.seed, "ties"))
    return {"suspects": derive.without_first([order], spec.design.shares, _where(spec))[0]}


def _from_data(job: Job[DeriveMasksSpec, DeriveMasksInputs], data: NumpyData) -> Masks:
    spec = job.spec
    design, where, n = spec.design, _where(spec), len(data.y_train)
    seed = shared_seed(spec)
    everything = np.ones(n, dtype=bool)
    if design.kind is DerivedKind.removal:
        orders = control_orders(spec, data, _queries(spec))
        return {"all": everything} | {
            name: derive.without_first(own, design.shares, where) for name, own in orders.items()
        }
    if design.kind is DerivedKind.suspects:
        orders_of_all = derive.random_orders(n, design.count, seed)
        return {"all": everything, "random": derive.without_first(orders_of_all, design.shares, where)}
    if design.kind is DerivedKind.coreset:
        labels = data.y_train if design.balanced and spec.has_classes else None
        random = [
            derive.first_only(order, design.shares, labels, where)
            for order in derive.random_orders(n, design.count, seed)
        ]
        return {"all": everything, "random": np.stack(random)}
    if design.kind is DerivedKind.groups:
        groups = _groups(job, data)
        return {"all": everything, design.by.value: derive.group_masks(groups, design.count)[0]}
    return {"fractions": derive.random_subsets(n, design.shares, design.count, seed, where)}


def _groups(job: Job[DeriveMasksSpec, DeriveMasksInputs], data: NumpyData) -> NDArray[np.integer]:
    """Return the number of the group of each training example, (n_train,).

    Raises:
        UserError: the file of sources does not have one line per training example.
    """
    spec = job.spec
    if spec.design.by is GroupBy.classes:
        return data.y_train
    if spec.design.by is GroupBy.clusters:
        n_tokens = derive.number_of_tokens(data.x_train) if spec.inputs is Inputs.tokens else None
        read = partial(derive.features_of, data.x_train, n_tokens=n_tokens)
        return derive.clusters(read, len(data.y_train), spec.design.count, shared_seed(spec))
    if not spec.sources:
        planted = load_arrays(job.read(job.inputs.data).with_name("planted.safetensors"))
        subclass: NDArray[np.integer] = planted["subclass"]
        return subclass
    names = (job.root / spec.sources).read_text(encoding="utf-8").splitlines()
    if len(names) != len(data.y_train):
        raise UserError(
            f"{spec.sources}: has {len(names)} lines, but there are {len(data.y_train)} training examples; write one "
            "line for each"
        )
    return np.unique(names, return_inverse=True)[1]


def _queries(spec: DeriveMasksSpec) -> int:
    """Return the number of test queries whose proponents are removed."""
    return min(spec.design.queries, spec.queries.test)


def _where(spec: DeriveMasksSpec) -> str:
    return f"configs/metrics/{spec.metric}.yaml: design.shares"

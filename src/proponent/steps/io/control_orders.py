"""Orders of training examples with which the order by the scores of a method is compared."""

from __future__ import annotations

from proponent.chunking import chunks
from proponent.config.setting_schema import Inputs
from proponent.config.specifications.derived_specs import DeriveMasksSpec, PatchModelsSpec
from proponent.seeds import derive_seed
from proponent.steps.io.stored_arrays import NumpyData
from proponent.training import derived_masks as derive


def control_orders(
    spec: DeriveMasksSpec | PatchModelsSpec, data: NumpyData, count: int, similar: bool = True
) -> dict[str, list[derive.Order]]:
    """Return the orders of the controls: random, of the query's class (with classes), and most similar in the inputs.

    Args:
        spec: specification of the step.
        data: training examples and queries.
        count: number of test queries, from the first one, each of which has an order of its own.
        similar: whether to include similarity.
    """
    n, tune, seed = len(data.y_train), spec.queries.tune, shared_seed(spec)
    chosen = slice(tune, tune + count)
    orders = {"random": derive.random_orders(n, count, seed)}
    if spec.has_classes:
        orders["same_class"] = derive.same_class_orders(data.y_train, data.y_query[chosen], seed)
    if not similar:
        return orders
    n_tokens = derive.number_of_tokens(data.x_train, data.x_query) if spec.inputs is Inputs.tokens else None
    parts = (derive.features_of(data.x_train, rows, n_tokens) for rows in chunks(n, derive.ROWS))
    targets = derive.features_of(data.x_query, chosen, n_tokens)
    orders["similar"] = derive.nearest_orders(parts, targets, seed)
    return orders


def shared_seed(spec: DeriveMasksSpec | PatchModelsSpec) -> int:
    """Return the seed of the examples that all methods share."""
    return derive_seed(spec.seed, "derived", spec.metric)

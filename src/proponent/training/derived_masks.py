"""Masks that are derived from scores or from the data: removed proponents, coresets, groups, subsets of several sizes.

Ties are broken by a seeded random order: a score that takes few values would otherwise choose the examples that the data
set happens to list first. Every choice of examples is an *order*, the examples to choose first at the front.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proponent.chunking import chunks
from proponent.errors import UserError
from proponent.seeds import derive_seed

Mask = NDArray[np.bool_]
Order = NDArray[np.intp]
Inputs = NDArray[Any] | dict[str, NDArray[Any]]

ROWS = 2000
"""Examples whose inputs are in memory at a time."""
SAMPLE = 10_000
"""Examples from which the centres of clusters are computed."""


def descending(values: NDArray[np.floating], seed: int) -> Order:
    """Return the indices of ``values`` (n,), the largest value first, equal values in a random order."""
    shuffled = np.random.default_rng(seed).permutation(len(values))
    order: Order = shuffled[np.argsort(-values[shuffled], kind="stable")]
    return order


def count_of(share: float, n: int, where: str) -> int:
    """Return the number of examples in a share of ``n``, at least 1.

    Raises:
        UserError: no example would be left.
    """
    count = max(1, round(share * n))
    if count >= n:
        raise UserError(f"{where}: a share of {share} of {n} examples leaves none; lower it")
    return count


def without_first(orders: Sequence[Order], shares: Sequence[float], where: str) -> Mask:
    """Return masks without the first examples of each order, (n_orders, n_shares, n).

    Args:
        orders: permutations of the n examples, those to remove first at the front.
        shares: shares of the examples that are removed.
        where: beginning of messages.
    """
    n = len(orders[0])
    masks = np.ones((len(orders), len(shares), n), dtype=bool)
    for row, order in enumerate(orders):
        for column, share in enumerate(shares):
            masks[row, column, order[: count_of(share, n, where)]] = False
    return masks


def first_only(order: Order, shares: Sequence[float], labels: NDArray[np.integer] | None, where: str) -> Mask:
    """Return masks of the first examples of an order, (n_shares, n).

    Args:
        order: permutation of the n examples, those to keep first at the front.
        shares: shares of the examples that are kept.
        labels: (n,) classes, each of which keeps the same share of its examples; None to ignore classes.
        where: beginning of messages.
    """
    n = len(order)
    groups = [order] if labels is None else [order[labels[order] == label] for label in np.unique(labels)]
    masks = np.zeros((len(shares), n), dtype=bool)
    for row, share in enumerate(shares):
        count_of(share, n, where)
        for group in groups:
            masks[row, group[: max(1, round(share * len(group)))]] = True
    return masks


def same_class_orders(labels: NDArray[np.integer], queries: NDArray[np.integer], seed: int) -> list[Order]:
    """Return, per query, the examples of its class in a random order, and then all others in a random order."""
    return [
        descending((labels == label).astype(float), derive_seed(seed, "same-class", query))
        for query, label in enumerate(queries)
    ]


def nearest_orders(
    parts: Iterable[NDArray[np.floating]], queries: NDArray[np.floating], seed: int
) -> list[Order]:
    """Return, per query, the examples in the order of their Euclidean distance, the nearest first.

    Args:
        parts: features of the examples, (n, d) in parts.
        queries: (n_query, d) features of the queries.
        seed: seed that breaks ties.
    """
    nearness = np.concatenate([2 * x @ queries.T - np.square(x).sum(axis=1)[:, None] for x in parts])
    return [descending(own, derive_seed(seed, "nearest", query)) for query, own in enumerate(nearness.T)]


def random_orders(n: int, count: int, seed: int) -> list[Order]:
    """Return ``count`` random orders of ``n`` examples."""
    return [
        np.random.default_rng(derive_seed(seed, "random", index)).permutation(n) for index in range(count)
    ]


def random_subsets(n: int, removed: Sequence[float], count: int, seed: int, where: str) -> Mask:
    """Return random subsets without each of several shares of the examples, (n_shares, count, n)."""
    return np.stack(
        [
            without_first(random_orders(n, count, derive_seed(seed, "share", column)), [share], where)[:, 0]
            for column, share in enumerate(removed)
        ]
    )


def clusters(
    read: Callable[[NDArray[np.intp]], NDArray[np.floating]], n: int, count: int, seed: int
) -> NDArray[np.intp]:
    """Return the number of the cluster of each example, (n,), by k-means on the features of a sample of the examples.

    Args:
        read: function from indices of examples to their features, (m, d).
        n: number of examples.
        count: number of clusters.
        seed: seed of the sample and of the initial centres.
    """
    from sklearn.cluster import KMeans

    sample = np.sort(np.random.default_rng(seed).permutation(n)[:SAMPLE])
    model = KMeans(min(count, len(sample)), random_state=seed % 2**32, n_init=3).fit(read(sample))
    parts = [model.predict(read(np.arange(rows.start, rows.stop))) for rows in chunks(n, ROWS)]
    numbers: NDArray[np.intp] = np.concatenate(parts).astype(np.intp)
    return numbers


def group_masks(groups: NDArray[np.integer], count: int) -> tuple[Mask, NDArray[np.integer]]:
    """Return masks without each of the ``count`` largest groups, (n_groups, n), and the numbers of these groups.

    A group that holds all examples has no mask, because nothing would be left.
    """
    numbers, sizes = np.unique(groups, return_counts=True)
    numbers = numbers[np.argsort(-sizes, kind="stable")][:count]
    masks = np.array([groups != number for number in numbers]).reshape(len(numbers), len(groups))
    kept = masks.any(axis=1)
    return masks[kept], numbers[kept]


def unique_masks(masks: Mask) -> tuple[Mask, NDArray[np.int64]]:
    """Return the distinct masks of (…, n), (m, n) in the order of their first occurrence, and the row of each mask, (…).

    Retrainings of equal masks with equal seeds are equal, so that each is trained once.
    """
    flat = masks.reshape(-1, masks.shape[-1])
    rows: dict[bytes, int] = {}
    row_of = [rows.setdefault(np.packbits(mask).tobytes(), len(rows)) for mask in flat]
    first = np.unique(row_of, return_index=True)[1]
    return flat[first], np.asarray(row_of, dtype=np.int64).reshape(masks.shape[:-1])


def named_rows(named: Mapping[str, Mask]) -> tuple[Mask, dict[str, NDArray[np.int64]]]:
    """Return the distinct masks among several arrays (…, n), (m, n), and ``rows_NAME`` (…), the row of each mask."""
    flat = np.concatenate([masks.reshape(-1, masks.shape[-1]) for masks in named.values()])
    masks, row_of = unique_masks(flat)
    rows, start = {}, 0
    for name, some in named.items():
        shape = some.shape[:-1]
        count = int(np.prod(shape))
        rows[f"rows_{name}"] = row_of[start : start + count].reshape(shape)
        start += count
    return masks, rows


def features_of(
    x: Inputs, rows: NDArray[np.intp] | slice, n_tokens: int | None = None
) -> NDArray[np.float32]:
    """Return inputs as one row of numbers per example, (m, d), between which distances are compared.

    Args:
        x: inputs, or one array per named input; of each the axes after the first are flattened.
        rows: examples that are wanted.
        n_tokens: number of tokens, for inputs that are numbers of tokens, 0 = padding; the row then counts each token, and
            has length 1. None for other inputs.
    """
    parts = [np.asarray(part[rows]) for part in (x.values() if isinstance(x, dict) else [x])]
    flat = [part.reshape(len(part), -1) for part in parts]
    if n_tokens is None:
        return np.concatenate([part.astype(np.float32) for part in flat], axis=1)
    texts = np.concatenate(flat, axis=1).astype(np.int64)
    counts = np.zeros((len(texts), n_tokens), dtype=np.float32)
    np.add.at(counts, (np.arange(len(texts))[:, None], texts), 1)
    counts[:, 0] = 0
    return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1)


def number_of_tokens(*inputs: Inputs) -> int:
    """Return one more than the largest number of a token in any of the inputs."""
    arrays = [part for x in inputs for part in (x.values() if isinstance(x, dict) else [x])]
    return 1 + max(int(np.asarray(part).max()) for part in arrays)

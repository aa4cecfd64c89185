"""Checks of the arguments of metrics that are called with plain arrays: each malformed one is one clear line."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from proponent.errors import UserError
from proponent.metrics.estimate import Array
from proponent.metrics.metric_inputs import Retrainings, check_scores


def numbers(values: ArrayLike, name: str) -> Array:
    """Return an argument as an array of floating point numbers.

    Args:
        values: array, nested lists or tensor.
        name: name of the argument, for the message.

    Raises:
        UserError: it holds something else, its rows have different lengths, or it is a tensor that cannot be converted.
    """
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{name}: expected an array of numbers ({reason})") from error


def score_matrix(scores: ArrayLike, name: str = "scores") -> Array:
    """Return scores as a finite matrix (n_query, n_train) with at least one query and one example.

    Raises:
        UserError: the argument has another form, or a value is NaN or infinite.
    """
    found = numbers(scores, name)
    if found.ndim != 2 or not found.size:
        raise UserError(
            f"{name}: expected the shape (n_query, n_train) with at least one query and one example, found "
            f"{found.shape}"
        )
    check_scores(found, len(found), found.shape[1], name)
    return found


def retrainings_of(masks: ArrayLike, targets: ArrayLike) -> Retrainings:
    """Return ground truth that was given as arrays.

    Args:
        masks: (n_subsets, n_train), True = kept.
        targets: (n_subsets, n_seeds, n_query), or (n_subsets, n_query) for one seed.

    Raises:
        UserError: the arguments are not numbers, the shapes do not fit each other, or masks are neither True and False nor
            1 and 0.
    """
    kept, found = numbers(masks, "masks"), numbers(targets, "targets")
    given = found.shape
    if found.ndim == 2:
        found = found[:, None]
    if kept.ndim != 2 or found.ndim != 3 or len(kept) != len(found) or not (kept.size and found.size):
        raise UserError(
            "masks and targets: expected shapes (n_subsets, n_train) and (n_subsets, n_seeds, n_query), found "
            f"{kept.shape} and {given}"
        )
    if not np.isin(kept, (0, 1)).all():
        raise UserError("masks: expected True for examples that are kept and False for others")
    return Retrainings(kept.astype(bool), found)


def seeds_and_queries(
    values: ArrayLike, name: str, axes: tuple[str, ...] = (), like: tuple[int, ...] = ()
) -> Array:
    """Return values after retraining as an array (*axes, n_seeds, n_query).

    Args:
        values: NaN or infinite where a retraining diverged; (*axes, n_query) for one seed.
        name: name of the argument, for the message.
        axes: names of the axes before the seeds.
        like: expected sizes of the last axes; empty for any.

    Raises:
        UserError: the values are not numbers, or the shape is another one.
    """
    found = numbers(values, name)
    given = found.shape
    if found.ndim == len(axes) + 1:
        found = found[..., None, :]
    if found.ndim != len(axes) + 2 or not found.size or found.shape[found.ndim - len(like) :] != like:
        expected = [*axes, "n_seeds", "n_query"]
        shown = "".join(f", {size}" for size in like)
        names = ", ".join(expected[: len(expected) - len(like)]) + shown
        raise UserError(f"{name}: expected the shape ({names.removeprefix(', ')}), found {given}")
    return found


def growing(values: ArrayLike, name: str, below: float) -> Array:
    """Return numbers above 0 and below a limit that grow, such as sizes and shares.

    Raises:
        UserError: the argument is something else.
    """
    found = numbers(values, name)
    if (
        found.ndim != 1
        or not len(found)
        or not (np.diff(found) > 0).all()
        or not 0 < found[0] <= found[-1] < below
    ):
        raise UserError(
            f"{name}: expected growing numbers above 0 and below {below:g}, found {found.tolist()}"
        )
    return found


def flags(values: ArrayLike, shape: tuple[int, ...], name: str, meaning: str) -> NDArray[np.bool_]:
    """Return an argument as booleans.

    Args:
        values: True and False, or 1 and 0.
        shape: expected shape.
        name: name of the argument, for the message.
        meaning: name of the examples or queries with the value True, in the plural.

    Raises:
        UserError: the shape or the values are others.
    """
    found = numbers(values, name)
    if found.shape != shape:
        raise UserError(
            f"{name}: expected the shape {shape} with True for {meaning}, found the shape {found.shape}"
        )
    if not np.isin(found, (0, 1)).all():
        raise UserError(f"{name}: expected True for {meaning} and False for others")
    return found.astype(bool)


def labels_of(values: ArrayLike, count: int, name: str) -> NDArray[Any]:
    """Return one label per row, (count,).

    Args:
        values: (count,) or (count, 1) numbers or text.
        count: number of examples or queries.
        name: name of the argument, for the message.

    Raises:
        UserError: there are fewer or more labels, or a label is NaN.
    """
    try:
        found = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{name}: expected one label per row ({reason})") from error
    if found.shape == (count, 1):
        found = found[:, 0]
    if found.shape != (count,):
        raise UserError(f"{name}: expected one label per row, ({count},), found the shape {found.shape}")
    if found.dtype.kind == "f" and np.isnan(found).any():
        raise UserError(
            f"{name}: {np.isnan(found).sum()} of {count} labels are NaN; give every row its class"
        )
    return found


def check_k(k: int, n_train: int, metric: str) -> None:
    """Raise a UserError unless ``k`` is a whole number of examples that can be chosen among ``n_train``."""
    check_whole(k, f"metric {metric}: k")
    if k > n_train:
        raise UserError(f"metric {metric}: k is {k}, but there are {n_train} training examples; lower it")


def check_whole(value: Any, name: str) -> None:
    """Raise a UserError unless a value is a whole number of at least 1."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise UserError(f"{name} must be a whole number of at least 1, not {value!r}")

"""Results of a method as the arrays that are stored, and the checks that they must pass."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proponent.errors import UserError
from proponent.notes import Note

_SMALLEST = float(np.finfo(np.float32).tiny / np.finfo(np.float32).eps)
"""Scores below it are products of numbers that float32 no longer resolves (1e-31)."""


def as_array(values: Any) -> NDArray[Any]:
    """Return a tensor or an array as the NumPy array to be stored: floating point in float32."""
    array: NDArray[Any] = np.asarray(values if isinstance(values, np.ndarray) else _on_cpu(values))
    return array.astype(np.float32, copy=False) if np.issubdtype(array.dtype, np.floating) else array


def _on_cpu(tensor: Any) -> Any:
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


def check_values(values: NDArray[Any], shape: tuple[int, ...], name: str, source: str) -> None:
    """Refuse results of another shape, and results that are not finite.

    Args:
        values: the results.
        shape: the expected shape.
        name: name of the results, for the message.
        source: the file that configures the method, the beginning of the message.

    Raises:
        UserError: the shape differs, or a value is NaN or infinite.
    """
    if values.shape != shape:
        raise UserError(f"{source}: {name} of shape {values.shape} were returned; {shape} is required")
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise UserError(
            f"{source}: {bad} of {values.size} {name} are NaN or infinite: they overflow float32; try a larger damping, "
            "an earlier checkpoint, or inputs of smaller scale"
        )


def clear_unresolved_rows(scores: NDArray[Any]) -> NDArray[Any]:
    """Return the scores (n_query, n_train) with zeros for queries whose largest score float32 does not resolve.

    Notes report these queries, and those for which every example has the same score: their predictions are constant.
    """
    largest = np.abs(scores).max(axis=1, initial=0.0)
    unresolved = (largest > 0) & (largest < _SMALLEST)
    if unresolved.any():
        _note(
            f"scores of {_share(unresolved)} queries are below {_SMALLEST:.0e}, which is rounding, and are set to 0"
        )
        scores = np.where(unresolved[:, None], np.zeros_like(scores), scores)
    zero = (scores == 0).all(axis=1)
    constant = (np.ptp(scores, axis=1) == 0) & ~zero
    if zero.any():
        _note(f"all scores of {_share(zero)} queries are 0")
    if constant.any():
        _note(f"{_share(constant)} queries have the same score for every example")
    return scores


def _share(which: NDArray[np.bool_]) -> str:
    return f"{int(which.sum())} of {len(which)}"


def _note(text: str) -> None:
    warnings.warn(text, Note, stacklevel=3)

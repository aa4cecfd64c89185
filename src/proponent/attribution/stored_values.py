"""Results of a method as the arrays that are stored, and the checks that they must pass."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from proponent.errors import UserError


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
        raise UserError(f"{source}: {bad} of {values.size} {name} are NaN or infinite; try a larger damping")

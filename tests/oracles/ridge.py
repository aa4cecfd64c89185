"""Ridge regression without one example, from the leverage of the example (Cook, 1977), in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def leave_one_out(x: NDArray[np.float64], y: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
    """Return the weights of the ridge regression without each example, (n, columns).

    They are ``w - A^-1 x_i (y_i - w x_i) / (1 - h_i)`` with ``A = X'X + penalty I`` and the leverage ``h_i = x_i A^-1 x_i``.

    Args:
        x: (n, columns) features.
        y: (n,) labels.
        penalty: factor of half the squared norm of the weights, next to half the sum of squared errors.
    """
    inverse = np.linalg.inv(x.T @ x + penalty * np.eye(x.shape[1]))
    weights = inverse @ x.T @ y
    directions = x @ inverse
    leverage = (directions * x).sum(1)
    return weights - directions * ((y - x @ weights) / (1 - leverage))[:, None]

"""Choice between products with the GGN itself and passes through the network, whichever is cheaper for many vectors."""

from __future__ import annotations

from proponent.memory_budget import MIB

FORMED_MIB = 256
"""Memory of the largest matrix that is formed."""
_PASSES = 4
"""Passes of a product with one vector and one example: a derivative forward and one backward, each twice a plain pass."""
_SLOWER = 4
"""Time of a multiply-add in such passes, in units of that in a large matrix product (one core, two convolutions)."""


def is_formed(n_parameters: int, n_outputs: int, multiplications: int, itemsize: int, count: int) -> bool:
    """Return whether the GGN is formed; neither the number of examples nor the machine matters.

    Args:
        n_parameters: number of parameters.
        n_outputs: outputs of one example, each of which adds a gradient to the matrix.
        multiplications: multiply-adds of one example's forward pass.
        itemsize: bytes of a number.
        count: vectors that will be multiplied in all.
    """
    if n_parameters**2 * itemsize > FORMED_MIB * MIB:
        return False
    forming = n_outputs * (2 * multiplications + n_parameters**2)
    return forming <= _PASSES * _SLOWER * multiplications * count

"""Seeding of all global random generators at once, for calls of a user's code."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of Python, NumPy and torch within the block, and restore their states after it.

    Args:
        seed: not negative; NumPy takes its lowest 32 bits.
    """
    python, array = random.getstate(), np.random.get_state()  # noqa: NPY002 - a user's code may draw from it
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            torch.manual_seed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(array)  # noqa: NPY002

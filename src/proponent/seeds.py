"""Seeds derived from names, so that no two random draws of a benchmark share a stream by accident."""

from __future__ import annotations

import hashlib

HASH_SEED = "0"
"""PYTHONHASHSEED of jobs, with which the order of a set of text in a user's factory is the same in every process."""


def derive_seed(base: int, *names: str | int) -> int:
    """Return a 63-bit seed that depends on ``base`` and on every one of ``names``, in order.

    The same arguments give the same seed on every machine and Python version: ``derive_seed(0, "member", 3)``.
    """
    text = "/".join([str(base), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

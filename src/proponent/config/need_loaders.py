"""Loaders of needs: which module of :mod:`proponent.steps.io` reads what a method asks for.

The plan digests only the loaders behind a method's needs, and the job imports only these, so that a change of the gradient
engines or of the trainer re-runs no method that does not use them.
"""

from __future__ import annotations

from collections.abc import Iterable

MODELS = "proponent.steps.io.stored_features"
"""Loader of what one member provides; it has ``read(job, need, member, data, rows, opened)``."""
REPLAY = "proponent.steps.io.member_replay"
"""Loader of a member's training; the same function as :data:`MODELS`."""
SHARED = "proponent.steps.io.shared_needs"
"""Loader of what all members share; it has ``read(job, need, rows)``."""

LOADERS = {
    "gradients": MODELS,
    "outputs": MODELS,
    "representations": MODELS,
    "network": MODELS,
    "replay": REPLAY,
    "retrainings": SHARED,
    "permutations": SHARED,
    "scores": SHARED,
}
"""Loader per need; ``data`` and ``workspace`` need none."""


def loaders_of(needs: Iterable[str], arrays: str) -> list[str]:
    """Return the modules that load ``needs`` and the data, as ``torch`` or ``numpy`` arrays."""
    data = "proponent.steps.io.setting_inputs" if arrays == "torch" else "proponent.steps.io.stored_arrays"
    return list(dict.fromkeys([data, *(LOADERS[need] for need in needs if need in LOADERS)]))

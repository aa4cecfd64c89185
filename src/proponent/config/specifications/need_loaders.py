"""Needs of methods as the configuration sees them: their names, the modules that load them and the designs behind them.

The plan digests only the loaders behind a method's needs, and the job imports only these, so that a change of the gradient
engines or of the trainer re-runs no method that does not use them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from proponent.config.digests.python_source import constants_of, parse

MODELS = "proponent.steps.io.stored_features"
"""Loader of what one member provides; it has ``read(job, need, member, data, rows, opened)``."""
REPLAY = "proponent.steps.io.member_replay"
"""Loader of a member's training; the same function as :data:`MODELS`."""
SHARED = "proponent.steps.io.shared_needs"
"""Loader of what all members share; it has ``read(job, need, rows)``."""
TEXTS = "proponent.steps.io.stored_texts"
"""Loader of the texts of examples; the same function as :data:`SHARED`."""

LOADERS = {
    "texts": TEXTS,
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

LEARNED_FROM = {"retrainings": "fit", "permutations": "permutations"}
"""Design behind a need. A method is charged for the retrainings that it learns from, not for those that evaluate it."""


def loaders_of(needs: Iterable[str], arrays: str) -> list[str]:
    """Return the functions (``module:name``) that load ``needs`` and the data, as ``torch`` or ``numpy`` arrays."""
    data = {
        "torch": "proponent.steps.io.setting_inputs:load_data",
        "numpy": "proponent.steps.io.stored_arrays:load_numpy_data",
    }[arrays]
    return list(dict.fromkeys([data, *(f"{LOADERS[need]}:read" for need in needs if need in LOADERS)]))


def uses_models(needs: Iterable[str]) -> bool:
    """Return whether any of ``needs`` differs between the members of the ensemble."""
    return any(LOADERS.get(need) in (MODELS, REPLAY) for need in needs)


@cache
def vocabulary() -> tuple[str, ...]:
    """Return the needs that a method can have, read from :mod:`proponent.methods.shared.needs` without importing it."""
    source = Path(__file__).parents[2] / "methods/shared/needs/__init__.py"
    needs: Any = constants_of(parse(source).body)["NEEDS"]
    return tuple(needs)

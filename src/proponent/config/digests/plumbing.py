"""Modules of the package that decide no number, and are in no digest."""

from __future__ import annotations

from functools import cache

PLUMBING = (
    "proponent",
    "proponent.callable_modules",
    "proponent.cli",
    "proponent.checkout_location",
    "proponent.entry",
    "proponent.errors",
    "proponent.extras",
    "proponent.file_locks",
    "proponent.fork_server",
    "proponent.notes",
    "proponent.progress",
    "proponent.slurm",
    "proponent.torch_imports",  # looks in sys.modules, as the next one does
    "proponent.transformers_compat",  # looks in sys.modules, where a digest would find every method
    "proponent.plan",
    "proponent.inspection",
    "proponent.config",
    "proponent.settings.fetched_files",  # the digests of files are in the modules that name them
    "proponent.settings.sources.registries",
    "proponent.store",
    "proponent.steps.adopt",
    "proponent.steps.io.job",
    "proponent.steps.io.process",
    "proponent.steps.io.device",
    "proponent.steps.publish",
    "proponent.publish.artifact_folders",
    "proponent.publish.tracking",
    "proponent.publish.ui",
)
"""Modules (and everything below the packages among them) that move bytes and words but decide no number: a change in them
re-runs nothing. The decisions of :mod:`proponent.config` are in the resolved configuration, which is part of every key."""


@cache
def is_plumbing(module: str) -> bool:
    """Return whether ``module`` is on the list, or below a package on it (``proponent`` itself covers only itself)."""
    return any(module == name or ("." in name and module.startswith(f"{name}.")) for name in PLUMBING)

"""Names of settings, methods, metrics and designs: they are parts of paths, in files of any system and in DVC."""

from __future__ import annotations

import re
from collections.abc import Iterable

from proponent.errors import UserError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_SUFFIXES = (
    ".json",
    ".safetensors",
    ".manifest",
    ".csv",
    ".svg",
    ".md",
    ".html",
    ".yaml",
    ".yml",
    ".dvc",
    ".tmp",
    ".egg-info",
)
"""Ends of file names: the files of a method called ``x.json.manifest`` could not be told from those of ``x``."""
_DEVICES = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)),
}
_RESERVED = {
    "setting": {
        *("comparisons", "failed", "figures", "keys", "leaderboard", "logs", "report", "summaries"),
        *("__pycache__", "dvc_plots", "mlartifacts", "mlflow", "mlruns"),
    },
    "design": {"shards"},
}
"""Names, by kind, that folders and files of ``results/`` have, and that ``.dvcignore`` hides."""


def check_names(kind: str, names: Iterable[str], source: str) -> None:
    """Refuse names that cannot be part of a path, or that another file of ``results/`` has.

    Args:
        kind: kind of the things: ``setting``, ``method``, ``metric`` or ``design``.
        names: all names of this kind in one place.
        source: file or flag that holds them, the beginning of the error.

    Raises:
        UserError: the first name that is refused, and why.
    """
    seen: dict[str, str] = {}
    for name in names:
        lower = name.lower()
        if not _NAME.fullmatch(name):
            rule = "use letters (a to z), digits, '-', '_' and '.', and begin with a letter, a digit or '_'"
        elif lower in _RESERVED.get(kind, ()) or lower in _DEVICES:
            rule = "it is reserved for other files; choose another one"
        elif lower.endswith(_SUFFIXES) or lower.endswith("."):
            rule = "it ends like the name of a file; choose another one"
        elif seen.get(lower, name) != name:
            rule = f"it differs from '{seen[lower]}' in upper and lower case only; choose another one"
        else:
            seen[lower] = name
            continue
        raise UserError(f"{source}: '{name}' cannot be the name of a {kind}: {rule}")

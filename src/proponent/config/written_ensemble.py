"""The key ``ensemble`` of a setting as it may be written: a trained model is a path, or a mapping with checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proponent.errors import UserError


def written_ensemble(content: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the fields of an :class:`~proponent.config.ensemble_schema.EnsembleConfig`.

    Args:
        content: value of ``ensemble``; entries of ``files`` that are text become mappings with ``final`` alone.
        source: file that holds the value, the beginning of every error.

    Raises:
        UserError: ``files`` is not a list of paths and mappings, or there are keys next to it.
    """
    files = content.get("files")
    if files is None:
        return dict(content)
    if not isinstance(files, list) or not files:
        raise UserError(
            f"{source}: ensemble.files must be a list of paths, for example [runs/a.safetensors], not {files!r}"
        )
    rest = {
        key: value for key, value in content.items() if value is not None
    }  # a variant takes values away by a null
    for key in ("members", "checkpoints"):
        if key in rest:
            raise UserError(
                f"{source}: ensemble.{key} follows from ensemble.files, which names every member; leave it out"
            )
    for place, entry in enumerate(files):
        if not isinstance(entry, (str, Mapping)):
            raise UserError(
                f"{source}: ensemble.files[{place}] must be a path, or a mapping with 'final' and 'checkpoints', not "
                f"{entry!r}"
            )
    return {**rest, "files": [{"final": entry} if isinstance(entry, str) else entry for entry in files]}

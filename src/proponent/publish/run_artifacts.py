"""Artifacts of a run in MLflow: figures, the gallery of the method, and its values as a table that the UI compares."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TABLE = "metrics.json"
"""Artifact that the comparison of runs shows as a table, under *Evaluation*."""
TABLE_COLUMNS = ("metric", "value", "ci_low", "ci_high", "ceiling")
_LOGGED = "mlflow.loggedArtifacts"
"""Tag of MLflow that names the tables of a run; ``MlflowClient.log_table`` sets it."""


@dataclass(frozen=True)
class Artifacts:
    """Files of one run."""

    figures: tuple[Path, ...] = ()
    gallery: str = ""
    """Page with the strongest examples of a few queries by the method; empty without one."""
    table: Sequence[Mapping[str, Any]] = field(default=())
    """One row per metric, with the columns :data:`TABLE_COLUMNS`."""

    def digest(self) -> list[str]:
        """Return a digest of each file."""
        figures = [figure.read_bytes() for figure in self.figures]
        contents = [*figures, self.gallery.encode(), json.dumps(self.table, sort_keys=True).encode()]
        return [hashlib.sha256(content).hexdigest() for content in contents]

    def log(self, client: Any, run_id: str) -> None:
        """Write the files to a run, in place of earlier ones of the same names."""
        for figure in self.figures:
            client.log_artifact(run_id, str(figure), "figures")
        if self.gallery:
            client.log_text(run_id, self.gallery, "gallery.html")
        if self.table:
            # Not client.log_table, which adds its rows to those of an earlier file.
            rows = [[row.get(name) for name in TABLE_COLUMNS] for row in self.table]
            client.log_dict(run_id, {"columns": list(TABLE_COLUMNS), "data": rows}, TABLE)
            client.set_tag(run_id, _LOGGED, json.dumps([{"path": TABLE, "type": "table"}]))

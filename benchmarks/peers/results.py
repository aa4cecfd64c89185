"""The file results.json: every measurement, and the agreement of scores."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

import agreement
import cells
import numpy as np

Cell = tuple[str, str, str, str]
"""(network, size, method, library)."""


class Results:
    """Measurements by cell; the file is written anew, under a temporary name, after every change.

    Args:
        path: the file, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        stored = json.loads(path.read_text()) if path.exists() else {}
        self.machine: dict[str, Any] = stored.get("machine", {})
        self.errors: dict[str, str] = stored.get("errors", {})
        """Why libraries could not be installed."""
        self.runs: dict[str, list[dict[str, Any]]] = stored.get("runs", {})
        """Measurements of a cell, one per repetition."""
        self.agreements: dict[str, dict[str, dict[str, float]]] = stored.get("agreement", {})
        """Agreement of a cell with ``ours`` and with its ``reference``."""

    def wants(self, cell: Cell, repetition: int, slow: float) -> bool:
        """Return whether a cell is to be measured for the repetition with this index; long calls are not repeated."""
        done = self.of(cell)
        if not done:
            return True
        return len(done) <= repetition and done[-1].get("seconds", slow) < slow

    def of(self, cell: Cell) -> list[dict[str, Any]]:
        """Return the measurements of a cell."""
        return self.runs.get("/".join(cell), [])

    def add(self, cell: Cell, repetition: int, run: dict[str, Any]) -> None:
        """Store the measurement of a repetition."""
        self.runs["/".join(cell)] = [*self.of(cell)[:repetition], run]
        self._write()

    def forget(self, chosen: list[Cell]) -> None:
        """Remove the measurements of some cells."""
        for cell in chosen:
            self.runs.pop("/".join(cell), None)
        self._write()

    def describe(self, machine: dict[str, Any]) -> None:
        """Store the machine and the conditions."""
        self.machine = machine
        self._write()

    def set_errors(self, errors: dict[str, str]) -> None:
        """Store why libraries could not be installed."""
        self.errors = errors
        self._write()

    def compare(self, cell: Cell, folder: Path) -> None:
        """Compare the scores of a cell with those of this library and with its dense reference, where they are there."""
        network, size, method, library = cell
        if "seconds" not in (self.of(cell) or [{}])[-1]:
            return
        scores = _load(folder / network / f"{size}-{method}-{library}.npz")
        others = {"ours": _load(folder / network / f"{size}-{method}-{cells.OURS}.npz")}
        reference = cells.reference_of(method, library)
        if reference is not None:
            others["reference"] = _load(
                folder / network / f"reference-{cells.SIZES[size][0]}-{reference}.npz"
            )
        found = {
            name: agreement.medians(scores, other) for name, other in others.items() if other is not None
        }
        self.agreements["/".join(cell)] = found
        self._write()

    def seconds(self, cell: Cell) -> list[float]:
        """Return the seconds of the measurements that were not ended."""
        return [run["seconds"] for run in self.of(cell) if "seconds" in run]

    def ratio(self, cell: Cell) -> tuple[float, bool] | None:
        """Return how many times longer a cell took than this library, and whether that is only a lower bound."""
        ours = self.seconds((*cell[:3], cells.OURS))
        if not ours:
            return None
        theirs = self.seconds(cell)
        if theirs:
            return median(theirs) / median(ours), False
        limits = [run["limit"] for run in self.of(cell) if "limit" in run]
        return (limits[0] / median(ours), True) if limits else None

    def line(self, cell: Cell) -> str:
        """Return one line on the last measurement of a cell."""
        run = self.of(cell)[-1]
        text = f"{run['seconds']:.3f} s" if "seconds" in run else str(run)
        return f"{' '.join(cell)}: {text}"

    def _write(self) -> None:
        content = {
            "machine": self.machine,
            "errors": self.errors,
            "runs": self.runs,
            "agreement": self.agreements,
        }
        partial = self.path.with_name(f"{self.path.name}.partial")
        partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
        partial.replace(self.path)


def _load(path: Path) -> np.ndarray | None:
    if not path.exists():
        return None
    with np.load(path) as stored:
        return stored["scores"]

"""The notebook ``docs/tour.ipynb``: execute it, and write the outputs that are kept in git.

Usage: ``PYTHONPATH=tests python -m docs.tour_notebook`` after a change of the notebook or of what it shows.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from docs.guides import REPOSITORY

NOTEBOOK = REPOSITORY / "docs/tour.ipynb"
_PREAMBLE = "%config InlineBackend.rc = {'figure.dpi': 60}"
"""First cell of a run, not part of the notebook, that keeps the pictures small."""


def read() -> Any:
    """Return the notebook as it is in git."""
    return nbformat.read(NOTEBOOK, as_version=4)


def executed(folder: Path, checks: Mapping[int, str] | None = None) -> Any:
    """Return the notebook with the outputs of a new run.

    Args:
        folder: current directory of the run, where trainers write checkpoints.
        checks: code to run after the cell at a position; it may use all names of the notebook, and fails the run if it
            raises.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell or a check failed.
    """
    notebook = read()
    run = nbformat.v4.new_notebook(metadata=notebook.metadata, cells=[nbformat.v4.new_code_cell(_PREAMBLE)])
    for position, cell in enumerate(notebook.cells):
        run.cells.append(cell)
        if checks and position in checks:
            run.cells.append(nbformat.v4.new_code_cell(checks[position]))
    # One thread: next to other tests, a second one waits for a core and takes processor time while it does.
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"}
    client = NotebookClient(
        run, timeout=1800, resources={"metadata": {"path": str(folder)}}, record_timing=False
    )
    client.execute(env=environment)
    for number, cell in enumerate(cell for cell in notebook.cells if cell.cell_type == "code"):
        cell.execution_count = number + 1
        # progress and warnings differ from run to run
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as current:
        nbformat.write(executed(Path(current)), NOTEBOOK)

"""A job imports only what its step needs: torch takes two seconds and matplotlib half a second, more than many jobs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import proponent.steps

STEPS = {path.stem for path in Path(proponent.steps.__path__[0]).glob("[!_]*.py")}
DRAW = {"explain_gallery", "figures", "overview", "report", "report_section", "select_examples"}
WITHOUT_MODELS = {
    "adopt",
    "attribute",
    "collect",
    "correlate",
    "evaluate",
    "ground_truth",
    "publish",
    "summary",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps", "library"), [(STEPS - DRAW, "matplotlib"), (WITHOUT_MODELS, "torch")], ids=["drawing", "models"]
)
def test_steps_do_not_import_a_large_library_that_they_do_not_need(steps, library):
    """All in one process, which ends at the first step that imports the library."""
    program = (
        "import importlib, sys\n"
        f"for step in {sorted(steps)}:\n"
        "    importlib.import_module(f'proponent.steps.{step}')\n"
        f"    assert {library!r} not in sys.modules, step\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

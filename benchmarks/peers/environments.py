"""Environments of the other libraries, one each, from locked requirements: python benchmarks/peers/environments.py."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

from cells import LIBRARIES, OURS

HERE = Path(__file__).parent
ROOT = HERE / ".envs"


def interpreter_of(library: str) -> Path | None:
    """Return the interpreter of a library's environment; None if it is not installed."""
    if library == OURS:
        return Path(sys.executable)
    python = ROOT / library / "bin/python"
    return python if _stamp(library).exists() else None


def install(library: str) -> str | None:
    """Make the environment of a library, unless it is there with the same requirements.

    Returns:
        Why it could not be installed, the last lines of pip; None if it is there.
    """
    requirements = HERE / f"environments/{library}.txt"
    stamp = _stamp(library)
    if stamp.exists() and stamp.read_text() == requirements.read_text():
        return None
    stamp.unlink(missing_ok=True)
    print(f"installing {library} into {ROOT / library}", file=sys.stderr)
    venv.create(ROOT / library, with_pip=True, clear=True)
    # without dependencies: the files list all of them, and kronfluence and dualxda name more than they need
    command = [str(ROOT / library / "bin/python"), "-m", "pip", "install", "--quiet", "--no-deps"]
    done = subprocess.run(  # noqa: S603 - a list of arguments, no shell
        [*command, "--disable-pip-version-check", "-r", str(requirements)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        return (lines or done.stderr.splitlines() or ["pip failed"])[0]
    stamp.write_text(requirements.read_text())
    return None


def _stamp(library: str) -> Path:
    return ROOT / library / "installed.txt"


if __name__ == "__main__":
    from results import Results

    errors = {library: install(library) for library in LIBRARIES}
    Results(HERE / "results.json").set_errors({name: error for name, error in errors.items() if error})

"""This library and the other ones on the same trained models: agreement, seconds, memory and lines of user code.

python benchmarks/peers/run.py                 everything that is not in results.json yet, then docs/peers.md
python benchmarks/peers/run.py --fresh         measure everything again
python benchmarks/peers/run.py --page-only     only write docs/peers.md and its figure from results.json

make bench-peers installs the environments and runs the first one; flags go into ARGS. Each measurement is a process of
its own that first calls the method on a few examples, and results.json is written after each, so that a run that is
cut continues. Repetitions are the outer loop: the libraries take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cells
from environments import interpreter_of
from page import write_page
from results import Results

HERE = Path(__file__).parent
WORK = HERE / ".work"
STARTING = 300
"""Seconds that a process may take for its imports and the call on a few examples."""


def main() -> None:
    """Measure what the command line selects and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=cells.NETWORKS, default=cells.NETWORKS)
    parser.add_argument("--sizes", nargs="+", choices=cells.SIZES, default=tuple(cells.SIZES))
    parser.add_argument("--methods", nargs="+", choices=cells.METHODS, default=tuple(cells.METHODS))
    parser.add_argument("--libraries", nargs="*", choices=cells.LIBRARIES, default=tuple(cells.LIBRARIES))
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--limit", type=float, default=120, help="seconds after which a call is ended")
    parser.add_argument("--slow", type=float, default=20, help="calls of more seconds are not repeated")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory-mib", type=int, default=8000)
    parser.add_argument("--results", type=Path, default=HERE / "results.json")
    parser.add_argument(
        "--fresh", action="store_true", help="forget the selected measurements that are there"
    )
    parser.add_argument("--page-only", action="store_true", help="measure nothing")
    options = parser.parse_args()
    results = Results(options.results)
    if not options.page_only:
        measure_all(options, results)
    write_page(results)


def measure_all(options: argparse.Namespace, results: Results) -> None:
    """Make the models, measure all cells that are missing, and compare their scores."""
    import references
    from problems import make

    for network in options.networks:
        make(WORK / network, network)
        references.make(WORK / network, *cells.SIZES["small"])
    chosen = cells.cells(
        *(tuple(getattr(options, name)) for name in ("networks", "sizes", "methods", "libraries"))
    )
    if options.fresh:
        results.forget(chosen)
    results.describe(machine(options))
    for repetition in range(options.repetitions):
        for cell in chosen:
            if results.wants(cell, repetition, options.slow):
                results.add(cell, repetition, measure(cell, options))
                print(results.line(cell), file=sys.stderr)
    for cell in chosen:
        results.compare(cell, WORK)


def measure(cell: tuple[str, str, str, str], options: argparse.Namespace) -> dict[str, Any]:
    """Return what one call took, in a process of its own, or why there is no number, with the processor it ran on.

    Returns:
        What the process recorded; or ``limit``, the seconds after which it was ended; or ``error``, its last line.
    """
    return {**_measured(cell, options), "processor": processor()}


def _measured(cell: tuple[str, str, str, str], options: argparse.Namespace) -> dict[str, Any]:
    network, size, method, library = cell
    python = interpreter_of(library)
    if python is None:
        return {"error": "not installed"}
    n_train, n_query = cells.SIZES[size]
    output = WORK / network / f"{size}-{method}-{library}.npz"
    scratch = Path(tempfile.mkdtemp(dir=WORK))
    arguments = [
        str(python),
        str(HERE / "adapters" / f"with_{library}.py"),
        method,
        str(WORK / network),
        str(output),
    ]
    for name, value in (("train", n_train), ("query", n_query), ("scratch", scratch)):
        arguments += [f"--{name}", str(value)]
    for name in ("threads", "limit", "memory-mib"):
        arguments += [f"--{name}", str(getattr(options, name.replace("-", "_")))]
    try:
        done = subprocess.run(  # noqa: S603 - a list of arguments, no shell
            arguments,
            env=environment(library, options.threads),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=options.limit + STARTING,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"did not start within {STARTING} s"}
    finally:
        shutil.rmtree(scratch)
    if done.returncode == -14:  # SIGALRM
        return {"limit": options.limit}
    if done.returncode < 0:
        return {"error": f"ended by signal {-done.returncode}"}
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return {"error": lines[-1][:200] if lines else f"exit status {done.returncode}"}
    return {**results_of(output), "load": round(os.getloadavg()[0], 2)}


def results_of(output: Path) -> dict[str, Any]:
    """Return the measurements that a process wrote next to its scores."""
    return json.loads(output.with_suffix(".json").read_text())


def environment(library: str, threads: int) -> dict[str, str]:
    """Return the environment variables of a measurement: as many threads everywhere, and no other Python paths."""
    kept = {
        name: value for name, value in os.environ.items() if library == cells.OURS or name != "PYTHONPATH"
    }
    return {
        **kept,
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads)),
    }


def processor() -> str:
    """Return the name of the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def machine(options: argparse.Namespace) -> dict[str, Any]:
    """Return a description of the machine and the conditions."""
    return {
        "cores": os.cpu_count(),
        "threads": options.threads,
        "limit": options.limit,
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    main()

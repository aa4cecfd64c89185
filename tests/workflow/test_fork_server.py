"""Jobs of a run on this machine are forks of one server; a run with one job has none."""

from __future__ import annotations

import sys

import pytest

from workflow.checkout import Checkout

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the calls of the server"),
]

TELL_PARENT = """

def _parent() -> str:
    import os
    from pathlib import Path

    parent = os.getppid()
    return f"child of {parent}: " + Path(f"/proc/{parent}/cmdline").read_text().replace("\\0", " ")


print(_parent())
"""


@pytest.fixture
def telling(fresh: Checkout) -> Checkout:
    """A checkout whose factories print the parent of the process that imports them."""
    with (fresh.root / "toy/factories.py").open("a") as factories:
        factories.write(TELL_PARENT)
    return fresh


def parents(checkout: Checkout) -> dict[str, str]:
    """Return the parent of each job that imported the factories, by the name of its log."""
    lines = {
        path.stem: [line for line in path.read_text().splitlines() if line.startswith("child of ")]
        for path in (checkout.root / "logs/toy").glob("*.log")
    }
    return {name: found[0] for name, found in lines.items() if found}


def test_all_jobs_of_a_run_are_forks_of_one_server(telling):
    telling.snakemake("results/toy/features/gradients-000.safetensors")
    found = parents(telling)  # the check, which has a fork of its own, aside
    (server,) = {found[job] for job in ("data", "train-000", "featurize-gradients-000")}
    assert "-m proponent.fork_server.server" in server


def test_the_job_of_a_run_with_one_job_starts_by_itself(telling):
    telling.snakemake("results/toy/data/train.safetensors")
    assert "fork_server" not in parents(telling)["data"]

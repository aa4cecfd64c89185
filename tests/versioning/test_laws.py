"""The laws of "never stale, never lost" that need git and DVC, with real clones, pulls and checkouts.

The laws are listed in docs/versioning.md. Laws 2 to 4 concern one checkout and are tested in workflow/test_staleness.py,
law 6 in workflow/test_resume.py. Each test counts the jobs that Snakemake would start.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from versioning.conftest import Versioned

pytestmark = pytest.mark.slow

COLLECTION = {"collect": 1, "summary": 1, "figures": 1, "overview": 1}


def versioned_files(repository: Versioned) -> set[str]:
    """Return the files that the dvc.lock of the workspace records, including files inside of directories."""
    return set(repository.dvc("list", ".", "-R", "--dvc-only").split())


def test_1_after_clone_and_pull_there_is_nothing_to_do(pulled, origin):
    assert pulled.planned() == {}
    assert "up to date" in pulled.dvc("status")
    assert pulled.run("proponent", "verify").stdout.splitlines()[-1].startswith("whole: ")
    assert pulled.tensors() == origin.tensors()
    assert (pulled.root / "results/leaderboard.csv").read_bytes() == (
        origin.root / "results/leaderboard.csv"
    ).read_bytes()


def test_5_a_killed_repro_continues_where_it_was(clone, origin):
    running = subprocess.Popen(
        ["dvc", "repro"],
        cwd=clone.root,
        env=clone.environment(),
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not list((clone.root / "results").glob("toy/features/*.manifest.json")):
        assert running.poll() is None
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert not {"data", "train"} & clone.planned().keys()
    clone.dvc("repro")
    assert clone.tensors() == origin.tensors()
    clone.run("proponent", "verify")


def test_7_a_removed_method_leaves_nothing_behind(pulled):
    assert "results/toy/scores/trak.safetensors" in versioned_files(pulled)
    pulled.edit("params.yaml", "graddot, trak", "graddot")
    assert pulled.planned() == COLLECTION
    pulled.dvc("repro")
    assert "trak" not in (pulled.root / "results/leaderboard.csv").read_text()
    left = list(pulled.root.glob("results/toy/*/trak*"))
    assert [path for path in left if path.parent.name != "benchmarks"] == []
    assert not [name for name in versioned_files(pulled) if "trak" in name]


def test_another_revision_in_the_same_folder_is_current_and_the_first_again(pulled):
    """Snakemake's own metadata, which belongs to the first revision, is not used."""
    first = pulled.git("rev-parse", "HEAD").strip()
    pulled.edit("configs/settings/toy.yaml", "lr: 0.2", "lr: 0.1")
    before = pulled.tensors()
    pulled.make_all()
    pulled.dvc("repro")
    second = pulled.commit("Slower")
    after = pulled.tensors()
    assert before["results/toy/scores/trak.safetensors"] != after["results/toy/scores/trak.safetensors"]

    pulled.git("checkout", "-q", first)
    assert pulled.planned()["train"] == 1, (
        "before dvc checkout the results still belong to the other revision"
    )
    pulled.dvc("checkout")
    assert pulled.planned() == {}
    assert pulled.tensors() == before
    pulled.git("checkout", "-q", second)
    pulled.dvc("checkout")
    assert pulled.planned() == {}
    assert pulled.tensors() == after


def test_repro_after_a_finished_snakemake_run_starts_no_job_and_records_it(clone):
    clone.make_all()
    assert clone.planned() == {}, "as after `snakemake`"
    made = {path: (clone.root / path).stat().st_ino for path in clone.tensors()}
    printed = clone.dvc("repro")
    assert "Nothing to be done" in printed
    assert "Execute" not in printed
    assert {path: (clone.root / path).stat().st_ino for path in clone.tensors()} == made
    assert "up to date" in clone.dvc("status")

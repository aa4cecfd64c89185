"""A shared file system on which a node sees the files of another node with a delay."""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path

import pytest

from proponent.errors import UserError
from proponent.steps.io import job as job_module
from proponent.steps.io.job import Job
from proponent.store.files import replacing
from proponent.store.manifest import Manifest, Part, write_manifest

ARTEFACT, PART = "results/s/ensemble/shard-000.json", "results/s/ensemble/member-000/final.safetensors"


def make(root: Path, key: str) -> None:
    """Write an artefact of two files and its manifest."""
    for path in (ARTEFACT, PART):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"{path} {key}")
    digest = [hashlib.sha256((root / path).read_bytes()).hexdigest() for path in (ARTEFACT, PART)]
    sizes = [(root / path).stat().st_size for path in (ARTEFACT, PART)]
    write_manifest(
        root, Manifest(ARTEFACT, key, digest[0], sizes[0], parts=[Part(PART, digest[1], sizes[1])])
    )


def job(root: Path) -> Job:
    return Job(root, "results/s/x.json", "featurize", "k", {}, {ARTEFACT: "new"}, [], {}, {}, {})


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(job_module, "LOOKED_EVERY", 0.05)
    monkeypatch.setattr(job_module, "SEEN_AFTER", 5.0)


def late(root: Path, what: str) -> threading.Timer:
    """Remove or truncate a file, and restore it after half a second."""
    seen = (root / what).read_bytes()
    if what == ARTEFACT:
        (root / what).write_bytes(seen[:3])
    else:
        (root / what).unlink()
    timer = threading.Timer(0.5, lambda: (root / what).write_bytes(seen))
    timer.start()
    return timer


@pytest.mark.parametrize("what", [ARTEFACT, PART, f"{ARTEFACT}.manifest.json"])
def test_a_job_on_a_cluster_waits_for_the_files_of_another_node(what, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    make(tmp_path, "new")
    timer = late(tmp_path, what)
    assert job(tmp_path).read(ARTEFACT) == tmp_path / ARTEFACT
    timer.join()


def test_a_job_waits_for_the_planned_version_of_an_input(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    make(tmp_path, "old")
    timer = threading.Timer(0.5, lambda: make(tmp_path, "new"))
    timer.start()
    assert "new" in job(tmp_path).read(ARTEFACT).read_text()
    timer.join()


def test_a_missing_input_is_an_error_after_the_wait_and_at_once_without_a_cluster(tmp_path, monkeypatch):
    make(tmp_path, "old")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    started = time.monotonic()
    with pytest.raises(UserError, match="was made from something else than planned"):
        job(tmp_path).read(ARTEFACT)
    assert time.monotonic() - started < 0.5
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(job_module, "SEEN_AFTER", 0.3)
    with pytest.raises(UserError, match="was made from something else than planned"):
        job(tmp_path).read(ARTEFACT)


def test_two_writers_on_two_machines_use_different_temporary_files(tmp_path):
    """Processes on two machines can have the same ID, and a job that counted as dead can still be writing."""
    with replacing(tmp_path / "x") as first, replacing(tmp_path / "x") as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "x").read_text() == "first", "each file is complete; the last writer wins"

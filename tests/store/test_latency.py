"""A shared file system on which a node sees late what another one wrote."""

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
    """Let a file be seen in half a second that is not, or not as it is now."""
    seen = (root / what).read_bytes()
    if what == ARTEFACT:
        (root / what).write_bytes(seen[:3])
    else:
        (root / what).unlink()
    timer = threading.Timer(0.5, lambda: (root / what).write_bytes(seen))
    timer.start()
    return timer


@pytest.mark.parametrize("what", [ARTEFACT, PART, f"{ARTEFACT}.manifest.json"])
def test_a_job_on_a_cluster_waits_for_what_another_node_wrote(what, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    make(tmp_path, "new")
    timer = late(tmp_path, what)
    assert job(tmp_path).read(ARTEFACT) == tmp_path / ARTEFACT
    timer.join()


def test_it_waits_for_the_version_that_was_planned(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    make(tmp_path, "old")
    timer = threading.Timer(0.5, lambda: make(tmp_path, "new"))
    timer.start()
    assert "new" in job(tmp_path).read(ARTEFACT).read_text()
    timer.join()


def test_what_stays_away_is_missed_in_the_end_and_at_once_without_a_cluster(tmp_path, monkeypatch):
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


def test_two_writers_on_two_machines_never_share_a_temporary_file(tmp_path):
    """Processes of two machines can have one number, and a job that was taken for dead can still be writing."""
    with replacing(tmp_path / "x") as first, replacing(tmp_path / "x") as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "x").read_text() == "first", "each is whole; the last to end stays"

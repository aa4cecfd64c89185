"""Leases: at most one job makes an artefact at a time, and dead holders do not block others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from proponent.errors import UserError
from proponent.store import lease as leases
from proponent.store.lease import leased

HOLD = """
import sys, time
from pathlib import Path
from proponent.store.lease import leased
with leased(Path(sys.argv[1]), lambda: False) as lease:
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(leases, "_POLL_SECONDS", 0.05)


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    return tmp_path / "scores.safetensors"


def start_holder(artefact: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(artefact)], stdout=subprocess.PIPE, text=True, env={**os.environ}
    )
    assert process.stdout.readline() == "held\n"
    return process


def files(artefact: Path) -> list[str]:
    return sorted(path.name for path in artefact.parent.iterdir())


def test_a_lease_leaves_nothing_behind(artefact):
    with leased(artefact, lambda: False) as lease:
        assert len(files(artefact)) == 1
        lease.check()
    assert files(artefact) == []


def test_the_second_job_waits_and_finds_the_artefact_made(artefact):
    order = []

    def second() -> None:
        with leased(artefact, artefact.exists) as lease:
            order.append(("second", lease))

    with leased(artefact, artefact.exists) as lease:
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.3)
        order.append(("first", lease))
        artefact.touch()
    waiting.join(timeout=10)
    assert order == [("first", lease), ("second", None)]


def test_the_lease_of_a_killed_holder_is_taken_over_at_once(artefact):
    process = start_holder(artefact)
    process.kill()
    process.wait()
    assert len(files(artefact)) == 1
    with leased(artefact, lambda: False) as lease:
        lease.check()
        assert [name[-1] for name in files(artefact)] == ["1", "2"]
    assert files(artefact) == []


@pytest.mark.slow
def test_a_holder_on_another_machine_counts_as_dead_without_renewals(artefact, monkeypatch):
    monkeypatch.setattr(leases, "EXPIRES_AFTER", 1.0)
    path = artefact.with_name(f".{artefact.name}.lease.000001")
    other = leases.Holder("token", "another/machine", 1, "1", "")
    path.write_text(json.dumps(other.__dict__))
    began = path.stat().st_mtime
    with leased(artefact, lambda: False) as lease:
        assert time.time() - began > 1.0
        assert lease.path.name.endswith(".lease.000002"), "the next number, after that of the dead holder"
        lease.check()
    assert files(artefact) == []


def test_a_job_that_slurm_requeued_to_another_node_takes_over_its_own_lease(artefact, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    path = artefact.with_name(f".{artefact.name}.lease.000001")
    path.write_text(json.dumps(leases.Holder("token", "another/machine", 1, "1", "17").__dict__))
    with leased(artefact, lambda: False) as lease:
        lease.check()
        assert lease.path.name.endswith(".lease.000002")
    assert files(artefact) == []


@pytest.mark.parametrize(("answer", "gone"), [("17\tname\tRUNNING\t/\tnode1\t", False), ("", True)])
def test_slurm_decides_whether_the_holder_still_runs(artefact, monkeypatch, tmp_path, answer, gone):
    program = tmp_path / "bin/squeue"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nprintf '{answer}\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    path = artefact.with_name("lease")
    path.touch()
    assert leases._is_gone(path, leases.Holder("token", "another/machine", 1, "1", "17")) is gone


def test_of_many_jobs_that_find_a_dead_holder_one_succeeds_at_a_time(artefact):
    process = start_holder(artefact)
    process.kill()
    process.wait()
    inside, most = [], []

    def contend() -> None:
        with leased(artefact, lambda: False):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    threads = [threading.Thread(target=contend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert most == [1] * 8
    assert files(artefact) == []


def test_a_job_whose_lease_was_taken_over_does_not_publish(artefact):
    with leased(artefact, lambda: False) as lease:
        later = artefact.with_name(f".{artefact.name}.lease.000002")
        later.touch()
        with pytest.raises(UserError, match="another job took over"):
            lease.check()
    assert later.exists(), "only its holder removes a lease"

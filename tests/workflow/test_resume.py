"""Never lost: killed at any moment and started again, a run ends with the bytes of an undisturbed one."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from workflow.checkout import Checkout

pytestmark = pytest.mark.slow


def start(checkout: Checkout) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        checkout.command(),
        cwd=checkout.root,
        env=checkout.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def jobs_of(checkout: Checkout) -> list[int]:
    """Return the processes of the steps that are running in a checkout."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes()
            inside = (entry / "cwd").resolve() == checkout.root.resolve()
        except OSError:
            continue
        if inside and b"bin/proponent" in command and b"snakemake" not in command:
            found.append(int(entry.name))
    return found


@pytest.mark.parametrize("moment", ["retrain", "featurize", "trak"])
def test_a_controller_killed_with_9_is_simply_started_again(fresh, finished_run, moment):
    process = start(fresh)
    wait_for_log(fresh, moment)
    process.send_signal(signal.SIGKILL)
    process.wait()
    printed = fresh.snakemake().stdout
    assert "steps (100%) done" in printed
    assert fresh.tensors() == finished_run.tensors()
    assert fresh.planned() == {}


def test_a_killed_job_is_made_again_and_the_others_are_kept(fresh, finished_run):
    process = start(fresh)
    wait_for_log(fresh, "retrain-subsets-0001")
    killed = jobs_of(fresh)
    for job in killed:
        os.kill(job, signal.SIGKILL)
    assert process.wait(timeout=120) != 0
    assert killed
    before = {path: (fresh.root / path).stat().st_ino for path in fresh.tensors()}
    fresh.snakemake()
    kept = [path for path, inode in before.items() if (fresh.root / path).stat().st_ino == inode]
    assert sorted(kept) == sorted(before), "what was whole is not made again"
    assert fresh.tensors() == finished_run.tensors()


def test_no_temporary_files_are_taken_for_results(checkout):
    victim = sorted(checkout.tensors())[len(checkout.tensors()) // 2]
    half = checkout.root / victim
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    assert checkout.planned() != {}, f"a truncated {victim} is noticed before anything runs"


def test_the_number_of_cores_changes_no_byte(fresh, finished_run):
    process = subprocess.run(
        [*fresh.command()[:3], "--cores", "1"],
        cwd=fresh.root,
        env=fresh.environment(),
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0
    assert fresh.tensors() == finished_run.tensors()


def wait_for_log(checkout: Checkout, name: str) -> None:
    """Wait until a job whose log's name starts with ``name`` has begun."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if list((checkout.root / "logs").glob(f"**/{name}*.log")) or list(
            (checkout.root / "logs").glob(f"**/attribute-{name}*.log")
        ):
            return
        time.sleep(0.05)
    raise AssertionError(f"no job {name} began")
